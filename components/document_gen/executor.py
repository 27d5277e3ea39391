"""Reads text files with Beam and writes documents."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import apache_beam as beam
from google.protobuf import struct_pb2
from tfx import types
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils
from tfx.utils import proto_utils

from albert_model.errors import InputError
from albert_model.text import near_duplicates
from albert_model.text.documents import SPLITS, Document, DocumentSettings, split_of
from albert_model.text.examples import encode_documents
from albert_model.text.mixing import MixingSettings
from albert_model.text.span_patterns import SpanPattern
from components import manifests
from components.document_gen import older_spans
from components.document_gen.older_spans import OlderSpans
from components.document_gen.reading import ReadText, Source, domain_base, find_text, text_size
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
GIVEN_SPAN = "given_span"  # execution property: the span's number, where no driver of TFX puts it into the pattern
_RANGE_BYTES = 32 * 1024 * 1024  # of a plain file that one worker reads; other workers read the rest
_PARTS = 20  # into which a text without blank lines is cut where fewer leave nothing to hold out
_SHORTEST_DOCUMENT = 4  # sentences
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
        inputs = _inputs(exec_properties)
        pattern, eval_fraction, settings = inputs.pattern, inputs.eval_fraction, inputs.settings
        newest = Source(find_text(pattern), domain_base(pattern))
        older = self._older_spans(examples.uri, newest, inputs)
        sources = [newest, *(older.sources if older else ())]
        counts = self.write_documents(examples.uri, sources, eval_fraction, settings)
        if _is_one_document_a_file(counts) and not all(counts[split] for split in SPLITS):
            shorter = max(_SHORTEST_DOCUMENT, counts["sentences"] // _PARTS)
            settings = settings.model_copy(update={"max_sentences_per_document": shorter})
            counts = self.write_documents(examples.uri, sources, eval_fraction, settings)
        _check(counts, pattern)
        _warn(counts, newest.files, settings)
        _log.info(
            "%s documents to train on, %s held out, %s duplicates dropped",
            *(f"{counts[key]:,}" for key in (*SPLITS, "duplicates")),
        )
        mark_examples(examples)
        manifest = _manifest(counts, sum(len(source.files) for source in sources))
        used = {"pattern": pattern, "eval_fraction": eval_fraction} | settings.model_dump()
        if older:
            manifest |= _of_older_spans(older, newest, counts, manifest["dropped"])
            used |= older.settings.model_dump()
        if inputs.span is not None:  # TFX's driver says it too, where there is one
            manifest |= {"span": inputs.span}
        manifests.write(examples, manifest | {"settings": used})

    def _older_spans(self, uri: str, newest: Source, inputs: _Inputs) -> OlderSpans | None:
        """What is read of older spans; None where the settings ask for none."""
        if inputs.span is None or not inputs.mixing.reads_older_spans:
            return None
        older = older_spans.find(inputs.span_pattern, inputs.span, inputs.mixing, inputs.eval_fraction)
        return older_spans.draw(
            self._make_beam_pipeline,
            os.path.join(uri, ".sizes"),
            newest,
            older,
            inputs.settings,
            inputs.eval_fraction,
            _RANGE_BYTES,
        )

    def write_documents(
        self, uri: str, sources: Sequence[Source], eval_fraction: float, settings: DocumentSettings
    ) -> Counter[str]:
        """Writes the documents of some files below `uri`; gives the counts of what was read, and of each split."""
        size = text_size(sources)
        write = WriteShards(uri, dict.fromkeys(SPLITS, shards_for(size, _READERS)))
        counts_path = os.path.join(uri, "counts.json")
        with self._make_beam_pipeline() as pipeline:
            read = pipeline | ReadText(sources, settings, _RANGE_BYTES)
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
    return counts + Counter(files_with_text=int(counts["whole_documents"] > 0), files_without_blank_line=int(unbroken))


class _Inputs(NamedTuple):
    """What component.py said, and the driver found.

    Attributes:
      pattern: path pattern of the newest span's files.
      eval_fraction: share of documents that is held out.
      settings: how text becomes documents.
      mixing: what is read of older spans.
      span_pattern: of every span's files.
      span: number of the newest span; None where it does not matter.
    """

    pattern: str
    eval_fraction: float
    settings: DocumentSettings
    mixing: MixingSettings
    span_pattern: SpanPattern
    span: int | None


def _inputs(exec_properties: dict[str, Any]) -> _Inputs:
    base = exec_properties["input_base"]
    config = proto_utils.json_to_proto(exec_properties["input_config"], example_gen_pb2.Input())
    literal = config.splits[0].pattern
    eval_fraction, packed = _output_settings(exec_properties)
    given = exec_properties.get(GIVEN_SPAN)
    span_pattern = SpanPattern(base, packed.get("span_pattern", literal))
    if given is not None:
        literal = span_pattern.below_base(int(given))
    span = span_pattern.span_of_literal(literal) if given is not None or "span_pattern" in packed else None
    if "span_pattern" in packed and span is None:
        raise InputError(f"corpus.pattern: {literal} is of no span of {span_pattern.pattern}. Give the span's number.")
    return _Inputs(
        os.path.join(base, literal),
        eval_fraction,
        DocumentSettings.model_validate_json(packed["settings"]),
        MixingSettings.model_validate_json(packed.get("mixing", "{}")),
        span_pattern,
        span,
    )


def _output_settings(exec_properties: dict[str, Any]) -> tuple[float, dict[str, str]]:
    """(eval_fraction, what else there is), as component.py packed them."""
    output = proto_utils.json_to_proto(exec_properties["output_config"], example_gen_pb2.Output())
    buckets = {split.name: split.hash_buckets for split in output.split_config.splits}
    custom = proto_utils.json_to_proto(exec_properties["custom_config"], example_gen_pb2.CustomConfig())
    packed = struct_pb2.Struct()
    custom.custom_config.Unpack(packed)
    return buckets["eval"] / sum(buckets.values()), dict(packed)


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


def _of_older_spans(older: OlderSpans, newest: Source, counts: Counter[str], dropped: dict[str, int]) -> dict[str, Any]:
    left_out = {"held_out_of_older_spans": counts["older_held_out"], "not_replayed": counts["not_replayed"]}
    return older_spans.describe(older, newest, counts) | {"dropped": dropped | left_out}
