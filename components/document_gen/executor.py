"""Reads text files with Beam and writes documents."""

from __future__ import annotations

import contextlib
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import apache_beam as beam
import tensorflow as tf
from google.protobuf import struct_pb2
from tfx import types
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils
from tfx.utils import proto_utils

from albert_model.errors import InputError
from albert_model.text import near_duplicates
from albert_model.text.documents import SPLITS, Document, DocumentSettings, read_documents, split_of
from albert_model.text.examples import encode_documents
from albert_model.text.lines import decompressed, ranges_of, text_bytes
from components import manifests
from components.sharding import (
    COUNTS,
    KEY_BYTES,
    REMOVAL,
    Extent,
    GroupRecords,
    Record,
    WriteCounts,
    WriteShards,
    mark_examples,
    read_columns,
    read_counts,
    shards_for,
    sum_counts,
)

_log = logging.getLogger("albert.documents")
_RANGE_BYTES = 32 * 1024 * 1024  # of a plain file that one worker reads; other workers read the rest
_BATCH = 64  # documents encoded at once, at most
_BATCH_BYTES = 1 << 22  # of text, from which fewer are
_PARTS = 20  # into which a text without blank lines is cut where fewer leave nothing to hold out
_SHORTEST_DOCUMENT = 4  # sentences
_LEFTOVERS = ("~", ".bak", ".orig", ".part", ".swp", ".tmp")
_BANDS = "bands"  # what the records of near-duplicate search have for a split
_READERS = 64  # workers that make examples of the documents
_BAND_BYTES_PER_TEXT_BYTE = 4  # where documents have half a kilobyte


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
        eval_fraction, settings = _output_settings(exec_properties)
        counts = self.write_documents(examples.uri, files, domain_base(pattern), eval_fraction, settings)
        if _is_one_document_a_file(counts) and not all(counts[split] for split in SPLITS):
            shorter = max(_SHORTEST_DOCUMENT, counts["sentences"] // _PARTS)
            settings = settings.model_copy(update={"max_sentences_per_document": shorter})
            counts = self.write_documents(examples.uri, files, domain_base(pattern), eval_fraction, settings)
        _check(counts, pattern)
        _warn(counts, files, settings)
        _log.info(
            "%s documents to train on, %s held out, %s duplicates dropped",
            *(f"{counts[key]:,}" for key in (*SPLITS, "duplicates")),
        )
        mark_examples(examples)
        used = {"pattern": pattern, "eval_fraction": eval_fraction} | settings.model_dump()
        manifests.write(examples, _manifest(counts, len(files)) | {"settings": used})

    def write_documents(
        self, uri: str, files: list[str], base: str, eval_fraction: float, settings: DocumentSettings
    ) -> Counter[str]:
        """Writes the documents of some files below `uri`; gives the counts of what was read, and of each split."""
        size = sum(_text_bytes(path) for path in files)
        write = WriteShards(uri, dict.fromkeys(SPLITS, shards_for(size, _READERS)))
        counts_path = os.path.join(uri, "counts.json")
        with self._make_beam_pipeline() as pipeline:
            read = (
                pipeline
                | "ListFiles" >> beam.Create(files)
                | "DivideFiles" >> beam.FlatMap(_ranges_of_file, range_bytes=_RANGE_BYTES)
                | "SpreadRanges" >> beam.Reshuffle()
                | "ReadDocuments" >> beam.ParDo(_ReadDocuments(base, settings)).with_outputs(COUNTS, main="documents")
            )
            collections = [read.documents | "EncodeDocuments" >> beam.Map(_encode, eval_fraction=eval_fraction)]
            if settings.near_duplicates == "drop":
                shards = shards_for(size * _BAND_BYTES_PER_TEXT_BYTE)
                find = _FindNearDuplicates(
                    write.temporary_folder, shards, settings.near_duplicate_similarity, eval_fraction
                )
                collections.append(read.documents | "FindNearDuplicates" >> find)
            written = tuple(collections) | write
            in_files = read[COUNTS] | "CountFiles" >> beam.CombinePerKey(sum_counts) | beam.MapTuple(_with_file)
            _ = (in_files, written) | WriteCounts(counts_path, "albert.documents")
        write.remove_temporary_files()
        return read_counts(counts_path)


class _ReadDocuments(beam.DoFn):
    """(path, start, end) → batches of documents; counts on the side, by path."""

    def __init__(self, base: str, settings: DocumentSettings):
        self._base, self._settings = base, settings.model_dump_json()

    def process(self, file_range: tuple[str, int, int | None]):
        path, start, end = file_range
        settings = DocumentSettings.model_validate_json(self._settings)
        counts: Counter[str] = Counter()
        with open_text(path) as file:
            documents = read_documents(file, path, domain_of(path, self._base), settings, counts, start, end)
            for batch in _batched(documents):
                counts["cut_documents"] += sum(d.continues for d in batch)
                counts["whole_documents"] += sum(not d.continues for d in batch)
                counts["sentences"] += sum(len(d.sentences) for d in batch)
                counts["text_bytes"] += sum(map(_size, batch))
                yield batch
        yield beam.pvalue.TaggedOutput(COUNTS, (path, counts))


class _FindNearDuplicates(beam.PTransform):
    """Batches of documents → records that remove near duplicates. Only signatures and ids leave the worker."""

    def __init__(self, folder: str, shards: int, similarity: float, eval_fraction: float):
        super().__init__()
        self._folder, self._shards = folder, shards
        self._similarity, self._eval_fraction = similarity, eval_fraction

    def expand(self, documents):
        return (
            (documents | "SignDocuments" >> beam.Map(_sign, similarity=self._similarity),)
            | "GroupByBand" >> GroupRecords(self._folder, {_BANDS: self._shards})
            | "CompareDocuments"
            >> beam.Map(_remove_near_duplicates, similarity=self._similarity, eval_fraction=self._eval_fraction)
        )


def _encode(documents: list[Document], eval_fraction: float) -> list[Record]:
    return [
        Record(split_of(d.document_id, eval_fraction), bytes.fromhex(d.document_id), value)
        for d, value in zip(documents, encode_documents(documents), strict=True)
    ]


def _sign(documents: list[Document], similarity: float) -> list[Record]:
    """A record for each band of each document: id and sketch."""
    return [
        Record(_BANDS, key, bytes.fromhex(document.document_id) + near_duplicates.sketch(signature))
        for document in documents
        if (signature := near_duplicates.sign(document.sentences)) is not None
        for key in near_duplicates.band_keys(signature, similarity)
    ]


def _remove_near_duplicates(
    shard_extents: tuple[tuple[str, int], list[Extent]], similarity: float, eval_fraction: float
) -> list[Record]:
    """((split, shard), extents) of bands → records that remove what was found in them."""
    _, extents = shard_extents
    keys, ids, sketches = read_columns(extents, KEY_BYTES, near_duplicates.SKETCH_BYTES)
    dropped = set(near_duplicates.find_near_duplicates(keys, ids, sketches, similarity))
    return [Record(split_of(key.hex(), eval_fraction), key, REMOVAL) for key in dropped]


def _with_file(path: str, counts: Counter[str]) -> Counter[str]:
    """Counts of all ranges of a file, and what it is as a whole."""
    unbroken = counts["whole_documents"] == 1 and counts["cut_documents"] > 0
    return counts + Counter(files_with_text=int(counts["sentences"] > 0), files_without_blank_line=int(unbroken))


def _text_files(pattern: str) -> list[str]:
    found = sorted(path for path in tf.io.gfile.glob(pattern) if not tf.io.gfile.isdir(path))
    if leftovers := [path for path in found if path.endswith(_LEFTOVERS)]:
        _log.warning("%s passed over, as it looks like a leftover of an editor or a copy", ", ".join(leftovers))
    return [path for path in found if not path.endswith(_LEFTOVERS)]


def _ranges_of_file(path: str, range_bytes: int) -> list[tuple[str, int, int | None]]:
    """Ranges of a plain file. A gzipped one can be read from its start only."""
    if path.endswith(".gz"):
        return [(path, 0, None)]
    return [(path, *each) for each in ranges_of(tf.io.gfile.stat(path).length, range_bytes)]


def _batched(documents: Iterable[Document]) -> Iterator[list[Document]]:
    batch, size = [], 0
    for document in documents:
        batch.append(document)
        size += _size(document)
        if len(batch) == _BATCH or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _size(document: Document) -> int:
    """Bytes of its text."""
    return sum(len(sentence.encode()) for sentence in document.sentences)


@contextlib.contextmanager
def open_text(path: str) -> Iterator[BinaryIO]:
    """Opens a plain or gzipped file to read its text, as bytes.

    Raises:
      InputError: the file cannot be read, or is a damaged gzip file.
    """
    try:
        with tf.io.gfile.GFile(path, "rb") as file, decompressed(path, file) as text:
            yield text
    except tf.errors.OpError as error:
        raise InputError(f"{path}: cannot be read ({error.message}).") from error


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
    return text_bytes(path, tf.io.gfile.stat(path).length)


def _input_pattern(exec_properties: dict[str, Any]) -> str:
    config = proto_utils.json_to_proto(exec_properties["input_config"], example_gen_pb2.Input())
    return config.splits[0].pattern


def _output_settings(exec_properties: dict[str, Any]) -> tuple[float, DocumentSettings]:
    """(eval_fraction, settings), as component.py packed them."""
    output = proto_utils.json_to_proto(exec_properties["output_config"], example_gen_pb2.Output())
    buckets = {split.name: split.hash_buckets for split in output.split_config.splits}
    custom = proto_utils.json_to_proto(exec_properties["custom_config"], example_gen_pb2.CustomConfig())
    packed = struct_pb2.Struct()
    custom.custom_config.Unpack(packed)
    return buckets["eval"] / sum(buckets.values()), DocumentSettings.model_validate_json(packed["settings"])


def _is_one_document_a_file(counts: Counter[str]) -> bool:
    return counts["whole_documents"] == counts["files_with_text"] > 0


def _warn(counts: Counter[str], files: list[str], settings: DocumentSettings) -> None:
    """Says what one may not have meant, and what was left out."""
    if unbroken := counts["files_without_blank_line"]:
        _log.warning(
            "%s: no blank line, so it is one document, cut every %d sentences. Put a blank line between documents.",
            files[0] if len(files) == 1 else f"{unbroken} of {len(files)} files (grep -L '^$' finds them)",
            settings.max_sentences_per_document,
        )
    for key, what in (("invalid_utf8_lines", "left out"), ("replaced_utf8_lines", "read with U+FFFD in them")):
        if counts[key]:
            _log.warning("%s lines are not UTF-8 and were %s", f"{counts[key]:,}", what)
    if settings.near_duplicates == "drop":
        _log.info("%s near duplicates dropped", f"{counts['removed']:,}")


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


_READ = ("sentences", "text_bytes", "cut_documents", "replaced_utf8_lines")
_DROPPED = {  # reasons, and what counts them
    "duplicate_documents": "duplicates",
    "near_duplicate_documents": "removed",
    "invalid_utf8_lines": "invalid_utf8_lines",
}


def _manifest(counts: Counter[str], files: int) -> dict[str, Any]:
    return {
        "documents": counts["train"] + counts["eval"],
        "train_documents": counts["train"],
        "eval_documents": counts["eval"],
        "fingerprint": f"{counts['key_sum'] % 2**128:032x}",  # of the documents, in whatever files and order
        "read": {"files": files} | {key: counts[key] for key in _READ},
        "dropped": {reason: counts[key] for reason, key in _DROPPED.items()},
    }
