"""Makes pre-training examples with Beam."""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from functools import partial
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.utils import shared
from tfx import types
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import artifact_utils

from albert_model.errors import InputError
from albert_model.text.documents import SPLITS
from albert_model.text.examples import Examples, decode_documents, encode_examples, make_examples
from albert_model.text.packing import pack
from albert_model.text.settings import ExampleSettings
from albert_model.text.tokenizer import Tokenizer
from albert_model.weights.package import VOCABULARY
from components import manifests, progress
from components.remote import read_vocabulary, write_vocabulary
from components.sharding import (
    COUNTS,
    Join,
    ReadInBatches,
    Record,
    WriteCounts,
    WriteShards,
    mark_examples,
    read_counts,
    shards_for,
    split_files,
)

_log = logging.getLogger("albert.examples")
_BATCH = 32  # documents made into examples at once
_LENGTH_BIN = 32  # of the histogram: lengths 33 … 64 are in bin 64
_BYTES_PER_TEXT_BYTE = 2  # of records, one copy
_MANY_LONG_SENTENCES = 0.1  # share of all; more makes one doubt that there is one a line


class Executor(BaseBeamExecutor):
    """Documents and a tokenizer → Examples."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        documents = artifact_utils.get_single_instance(input_dict["documents"])
        vocabulary = artifact_utils.get_single_uri(input_dict["tokenizer"])
        examples = artifact_utils.get_single_instance(output_dict["examples"])
        settings = ExampleSettings.model_validate_json(exec_properties["settings"])
        tokenizer = read_vocabulary(vocabulary)
        text = manifests.read(documents.uri)

        counts = self._write_examples(documents.uri, examples.uri, vocabulary, settings, text)
        for split in SPLITS:
            if not counts[split]:
                raise InputError(
                    f"No example could be made of the {text[f'{split}_documents']} documents of the {split} split "
                    f"({dict(counts)}). Add text, or lower examples.max_seq_length."
                )
        _log.info(
            "%s examples to train on, %s held out; %.0f %% of training batches is padding",
            *(f"{counts[split]:,}" for split in SPLITS),
            100 * _padding_share(counts, settings),
        )
        if counts["long_sentences"] > _MANY_LONG_SENTENCES * text["read"]["sentences"]:
            _log.warning(
                "%s of %s sentences are longer than an example and were broken between words. "
                "Is there one sentence a line? If so, raise examples.max_seq_length.",
                *(f"{count:,}" for count in (counts["long_sentences"], text["read"]["sentences"])),
            )
        write_vocabulary(os.path.join(examples.uri, VOCABULARY), tokenizer)
        mark_examples(examples)
        manifest = _manifest(counts, text, settings, tokenizer)
        manifests.write(examples, manifest | {"documents_uri": documents.uri})

    def _write_examples(
        self, documents_uri: str, uri: str, vocabulary: str, settings: ExampleSettings, text: dict[str, Any]
    ) -> Counter[str]:
        copies = {"train": settings.dupe_factor, "eval": 1}
        size = text["read"]["text_bytes"] * _BYTES_PER_TEXT_BYTE
        write = WriteShards(uri, _shards(settings, size, copies), _joins(settings))
        progress_folder = os.path.join(write.temporary_folder, "progress")
        counts_path = os.path.join(uri, "counts.json")
        with (
            progress.lines(progress_folder, text["documents"], "documents made into examples", _log),
            self._make_beam_pipeline() as pipeline,
        ):
            made = [
                pipeline
                | f"Read{split}Documents" >> ReadInBatches(split_files(documents_uri, split), _BATCH)
                | f"Make{split}Examples"
                >> beam.ParDo(_MakeExamples(vocabulary, split, settings, copies[split], progress_folder)).with_outputs(
                    COUNTS, main="records"
                )
                for split in SPLITS
            ]
            written = tuple(outputs.records for outputs in made) | write
            _ = (*(outputs[COUNTS] for outputs in made), written) | WriteCounts(counts_path, "albert.examples")
        write.remove_temporary_files()
        return read_counts(counts_path)


def _shards(settings: ExampleSettings, size: int, copies: dict[str, int]) -> dict[str, int]:
    """How many shards each split has, or each length bin of it, from the bytes of its records' copies.

    How many records a bin gets is known only afterwards, so each has shards enough for all: none becomes too large.
    """
    counts = {split: shards_for(size * copies[split]) for split in SPLITS}
    if settings.packing != "bins":
        return counts
    bins = np.unique(_bins(np.arange(1, settings.max_seq_length + 1), settings))
    return {_bin_name(upper_end): counts["train"] for upper_end in bins.tolist()} | {"eval": counts["eval"]}


def _joins(settings: ExampleSettings) -> dict[str, Join]:
    """What packs examples. Those held out stay alone, so that each has a domain, in records of the same features."""
    if settings.packing != "pack":
        return {}
    rows = {"train": settings.examples_per_row, "eval": 1}
    return {split: partial(pack, row_length=settings.max_seq_length, examples_per_row=rows[split]) for split in SPLITS}


def _bins(lengths: np.ndarray, settings: ExampleSettings) -> np.ndarray:
    """The longest example of each one's bin."""
    return np.minimum(-(-lengths // settings.bin_width) * settings.bin_width, settings.max_seq_length)


def _bin_name(upper_end: int) -> str:
    return f"train/length-{upper_end:05d}"


class _MakeExamples(beam.DoFn):
    """Batches of serialised documents → lists of records; counts on the side. One tokenizer a process."""

    def __init__(self, vocabulary: str, split: str, settings: ExampleSettings, copies: int, progress_folder: str):
        self._vocabulary, self._split, self._copies = vocabulary, split, copies
        self._settings, self._progress_folder = settings.model_dump_json(), progress_folder
        self._shared = shared.Shared()

    def setup(self):
        self._tokenizer = self._shared.acquire(lambda: read_vocabulary(self._vocabulary), tag=self._vocabulary)
        self._parsed = ExampleSettings.model_validate_json(self._settings)
        self._masked = self._split == "eval" or self._parsed.masking == "static"
        self._progress = progress.Reporter(self._progress_folder)

    def process(self, batch: list[bytes]):
        counts: Counter[str] = Counter()
        documents = decode_documents(batch)
        for examples in make_examples(documents, self._tokenizer, self._parsed, self._copies, self._masked, counts):
            slots = self._slots(examples)
            _count(examples, counts)
            counts[f"{self._split}_tokens"] += len(examples.input_ids.values)
            counts[f"{self._split}_slots"] += int(slots.sum())
            rows = zip(self._places(slots), examples.keys, encode_examples(examples), strict=True)
            yield [Record(*row) for row in rows]
        self._progress.add(len(batch))
        yield beam.pvalue.TaggedOutput(COUNTS, counts)

    def _slots(self, examples: Examples) -> np.ndarray:
        """Positions that each example takes in a batch."""
        lengths = examples.input_ids.lengths
        if self._split == "train" and self._parsed.packing == "bins":
            return _bins(lengths, self._parsed)
        return np.full(len(lengths), self._parsed.max_seq_length)

    def _places(self, slots: np.ndarray) -> list[str]:
        """Which files each example belongs to."""
        if self._split == "train" and self._parsed.packing == "bins":
            return [_bin_name(upper_end) for upper_end in slots.tolist()]
        return [self._split] * len(slots)


def _count(examples: Examples, counts: Counter[str]) -> None:
    lengths = examples.input_ids.lengths
    counts["predictions"] += len(examples.masked_lm_ids.values) if examples.masked_lm_ids else 0
    counts["swapped"] += int(examples.sentence_order_label.sum())
    counts["ordered"] += int(examples.sentence_order_weight.sum())
    bins, sizes = np.unique(-(-lengths // _LENGTH_BIN) * _LENGTH_BIN, return_counts=True)
    counts.update({f"length_{upper_end}": int(size) for upper_end, size in zip(bins, sizes, strict=True)})


_DROPPED = ("empty_documents", "empty_sentences", "single_sentence_chunks", "single_sentence_pieces")


def _manifest(
    counts: Counter[str], text: dict[str, Any], settings: ExampleSettings, tokenizer: Tokenizer
) -> dict[str, Any]:
    histogram = {int(k.removeprefix("length_")): v for k, v in counts.items() if k.startswith("length_")}
    return {
        "examples": counts["train"] + counts["eval"],
        "train_examples": counts["train"],
        "train_records": sum(_records_by_files(counts).values()),  # rows, where examples are packed
        "train_files": _records_by_files(counts),
        "eval_examples": counts["eval"],
        "documents": text["documents"],
        "documents_fingerprint": text["fingerprint"],
        "tokens": counts["train_tokens"] + counts["eval_tokens"],
        "padding_share": _padding_share(counts, settings),
        "predictions": counts["predictions"],
        "swapped": counts["swapped"],
        "ordered": counts["ordered"],
        "long_sentences": counts["long_sentences"],
        "dropped": {reason: counts[reason] for reason in _DROPPED} | text["dropped"],
        "lengths": dict(sorted(histogram.items())),
        "tokenizer_fingerprint": tokenizer.fingerprint,
        "settings": json.loads(settings.model_dump_json()),
    }


def _padding_share(counts: Counter[str], settings: ExampleSettings) -> float:
    """Share of the positions of training batches that hold no piece."""
    slots = counts["train_slots"]
    if settings.packing == "pack":
        slots = sum(_records_by_files(counts).values()) * settings.max_seq_length
    return round(1 - counts["train_tokens"] / slots, 4)


def _records_by_files(counts: Counter[str]) -> dict[str, int]:
    """How many records the files of each name have."""
    written = {key.removesuffix("_written"): n for key, n in sorted(counts.items()) if key.endswith("_written")}
    return {place.partition("/")[2] or "data": n for place, n in written.items() if place.startswith("train")}
