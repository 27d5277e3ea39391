"""Reads text files with Beam and writes documents."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import logging
import os
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import tensorflow as tf
from google.protobuf import struct_pb2
from tfx import types
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils
from tfx.utils import proto_utils

from albert_model.errors import InputError
from albert_model.text.documents import SPLITS, Document, read_documents, split_of
from albert_model.text.examples import encode_documents
from components import manifests
from components.sharding import COUNTS, Record, WriteCounts, WriteShards, mark_examples, read_counts, shards_for

_log = logging.getLogger("albert.documents")
_COUNTED_WHILE_READING = ("sentences", "text_bytes", "cut_documents")
_BATCH = 64  # documents encoded at once
_PARTS = 20  # into which a text without blank lines is cut where fewer leave nothing to hold out
_SHORTEST_DOCUMENT = 4  # sentences
_LEFTOVERS = ("~", ".bak", ".orig", ".part", ".swp", ".tmp")
_GZIP_RATIO = 4  # text bytes in a compressed byte, about


class Executor(BaseBeamExecutor):
    """Text → Examples with features document_id, domain, sentences."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        examples = artifact_utils.get_single_instance(output_dict["examples"])
        pattern = os.path.join(exec_properties["input_base"], _input_pattern(exec_properties))
        files = _text_files(pattern)
        eval_fraction, max_sentences = _output_settings(exec_properties)
        counts = self._write_documents(examples.uri, files, domain_base(pattern), eval_fraction, max_sentences)
        if _is_one_document_a_file(counts) and not all(counts[split] for split in SPLITS):
            max_sentences = max(_SHORTEST_DOCUMENT, counts["sentences"] // _PARTS)
            counts = self._write_documents(examples.uri, files, domain_base(pattern), eval_fraction, max_sentences)
        _check(counts, pattern)
        _warn_of_missing_blank_lines(counts, files, max_sentences)
        _log.info(
            "%s documents to train on, %s held out, %s duplicates dropped",
            *(f"{counts[key]:,}" for key in (*SPLITS, "duplicates")),
        )
        mark_examples(examples)
        settings = {"pattern": pattern, "eval_fraction": eval_fraction, "max_sentences": max_sentences}
        manifests.write(examples, _manifest(counts, len(files)) | {"settings": settings})

    def _write_documents(
        self, uri: str, files: list[str], base: str, eval_fraction: float, max_sentences: int
    ) -> Counter[str]:
        shards = shards_for(sum(_text_bytes(path) for path in files))
        write = WriteShards(uri, dict.fromkeys(SPLITS, shards))
        counts_path = os.path.join(uri, "counts.json")
        with self._make_beam_pipeline() as pipeline:
            read = (
                pipeline
                | "ListFiles" >> beam.Create(files)
                | "SpreadFiles" >> beam.Reshuffle()
                | "ReadDocuments"
                >> beam.ParDo(_ReadDocuments(base, eval_fraction, max_sentences)).with_outputs(COUNTS, main="records")
            )
            written = (read.records,) | write
            _ = (read[COUNTS], written) | WriteCounts(counts_path)
        write.remove_temporary_files()
        return read_counts(counts_path)


class _ReadDocuments(beam.DoFn):
    """Path → lists of records, one a document; counts on the side."""

    def __init__(self, base: str, eval_fraction: float, max_sentences: int):
        self._base, self._eval_fraction, self._max_sentences = base, eval_fraction, max_sentences

    def process(self, path: str):
        counts: Counter[str] = Counter()
        documents = read_documents(read_lines(path), path, domain_of(path, self._base), self._max_sentences)
        for batch in batched(documents, _BATCH):
            counts["cut_documents"] += sum(d.continues for d in batch)
            counts["whole_documents"] += sum(not d.continues for d in batch)
            counts["sentences"] += sum(len(d.sentences) for d in batch)
            counts["text_bytes"] += sum(len(s.encode()) for d in batch for s in d.sentences)
            yield [
                Record(split_of(d.document_id, self._eval_fraction), bytes.fromhex(d.document_id), value)
                for d, value in zip(batch, encode_documents(batch), strict=True)
            ]
        counts["files_with_text"] += bool(counts["sentences"])
        counts["files_without_blank_line"] += counts["whole_documents"] == 1 and counts["cut_documents"] > 0
        yield beam.pvalue.TaggedOutput(COUNTS, counts)


def _text_files(pattern: str) -> list[str]:
    found = sorted(path for path in tf.io.gfile.glob(pattern) if not tf.io.gfile.isdir(path))
    if leftovers := [path for path in found if path.endswith(_LEFTOVERS)]:
        _log.warning("%s passed over, as it looks like a leftover of an editor or a copy", ", ".join(leftovers))
    return [path for path in found if not path.endswith(_LEFTOVERS)]


def batched(documents: Iterable[Document], size: int) -> Iterator[list[Document]]:
    documents = iter(documents)
    while batch := list(itertools.islice(documents, size)):
        yield batch


def read_lines(path: str) -> Iterator[bytes]:
    """Lines of a plain or gzipped file.

    Raises:
      InputError: the file cannot be read, or is a damaged gzip file.
    """
    try:
        with tf.io.gfile.GFile(path, "rb") as file, _decompressed(path, file) as lines:
            yield from lines
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}: damaged gzip file ({error}). Copy or compress it again.") from error
    except tf.errors.OpError as error:
        raise InputError(f"{path}: cannot be read ({error.message}).") from error


def _decompressed(path: str, file: tf.io.gfile.GFile):
    return gzip.open(file) if path.endswith(".gz") else contextlib.nullcontext(file)


def domain_base(pattern: str) -> str:
    """The part of a path pattern before its first wildcard; folders below it are domains."""
    return os.path.dirname(pattern.split("*")[0].split("?")[0].split("[")[0])


def domain_of(path: str, base: str) -> str:
    """The folder between the span's folder and the file.

    >>> domain_of("/data/span-1/law/acts.txt", "/data/span-1"), domain_of("/data/span-1/acts.txt", "/data/span-1")
    ('law', 'default')
    """
    folder = os.path.relpath(os.path.dirname(path), base)
    return "default" if folder == "." else folder


def _text_bytes(path: str) -> int:
    return tf.io.gfile.stat(path).length * (_GZIP_RATIO if path.endswith(".gz") else 1)


def _input_pattern(exec_properties: dict[str, Any]) -> str:
    config = proto_utils.json_to_proto(exec_properties["input_config"], example_gen_pb2.Input())
    return config.splits[0].pattern


def _output_settings(exec_properties: dict[str, Any]) -> tuple[float, int]:
    """(eval_fraction, max_sentences), as component.py packed them."""
    output = proto_utils.json_to_proto(exec_properties["output_config"], example_gen_pb2.Output())
    buckets = {split.name: split.hash_buckets for split in output.split_config.splits}
    custom = proto_utils.json_to_proto(exec_properties["custom_config"], example_gen_pb2.CustomConfig())
    settings = struct_pb2.Struct()
    custom.custom_config.Unpack(settings)
    return buckets["eval"] / sum(buckets.values()), int(settings["max_sentences"])


def _is_one_document_a_file(counts: Counter[str]) -> bool:
    return counts["whole_documents"] == counts["files_with_text"] > 0


def _warn_of_missing_blank_lines(counts: Counter[str], files: list[str], max_sentences: int) -> None:
    if unbroken := counts["files_without_blank_line"]:
        _log.warning(
            "%s: no blank line, so it is one document, cut every %d sentences. Put a blank line between documents.",
            files[0] if len(files) == 1 else f"{unbroken} of {len(files)} files (grep -L '^$' finds them)",
            max_sentences,
        )


def _check(counts: Counter[str], pattern: str) -> None:
    """Raises InputError where there is nothing to go on with."""
    if not counts["sentences"]:
        raise InputError(
            f"{pattern}: the files hold no text. Write one sentence per line, a blank line between documents."
        )
    for split in SPLITS:
        if not counts[split]:
            raise InputError(
                f"{pattern}: no document of {counts['train'] + counts['eval']} falls into the {split} split. "
                "Add text, put a blank line between documents, or change corpus.eval_fraction."
            )


def _manifest(counts: Counter[str], files: int) -> dict[str, Any]:
    return {
        "documents": counts["train"] + counts["eval"],
        "train_documents": counts["train"],
        "eval_documents": counts["eval"],
        "fingerprint": f"{counts['key_sum'] % 2**128:032x}",  # of the documents, in whatever files and order
        "read": {"files": files} | {key: counts[key] for key in ("sentences", "text_bytes", "cut_documents")},
        "dropped": {"duplicate_documents": counts["duplicates"]},
    }
