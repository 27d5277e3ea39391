"""Looks at every record of some files before anything is trained on them; needs no TensorFlow.

Files hold records of google-research/albert's layout (see `padded`), or this project's (see `examples`), packed or not
(see `packing`). Features that nobody asks for are left alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from albert_model.errors import InputError
from albert_model.text import records
from albert_model.text.examples import RAGGED_FEATURES, SCALAR_FEATURES
from albert_model.text.packing import EXAMPLE_LENGTHS
from albert_model.text.ragged import Ragged
from albert_model.text.tfrecords import read_tfrecords

PIECE_FEATURES = ("input_ids", "input_mask", "segment_ids")
PREDICTION_FEATURES = ("masked_lm_positions", "masked_lm_ids", "masked_lm_weights")
ORDER_FEATURE = "next_sentence_labels"
_PADDED = (*PIECE_FEATURES, *PREDICTION_FEATURES, ORDER_FEATURE)
_COMPACT = (*RAGGED_FEATURES, *SCALAR_FEATURES)
_RECORDS_AT_ONCE = 1000
Open = Callable[[str], BinaryIO]


@dataclass(frozen=True)
class Layout:
    """How a record's features stand for the model's inputs.

    Attributes:
      padded: google-research/albert's layout; else this project's.
      max_seq_length: pieces of a record; of compact ones, at most.
      max_predictions: of a record, at most.
      examples_per_row: at most; None where a record is an example.
    """

    padded: bool
    max_seq_length: int
    max_predictions: int
    examples_per_row: int | None = None


@dataclass(frozen=True)
class Found:
    """What files hold.

    Attributes:
      layout: of all records.
      records: how many there are.
      examples: more than records where these are packed.
      tokens: pieces that are no padding.
      longest: positions that the longest example takes.
      by_file: records of each file.
    """

    layout: Layout
    records: int
    examples: int
    tokens: int
    longest: int
    by_file: dict[str, int]


def scan(
    files: Sequence[str], open_file: Open, vocab_size: int, segments: int, tell: Callable[[int], None] = lambda _: None
) -> Found:
    """Reads all records and makes sure that a model can be trained on each of them.

    Args:
      files: TFRecord files.
      open_file: opens one.
      vocab_size: pieces that the model knows.
      segments: segments that the model tells apart.
      tell: told of the number of records that were read.

    Raises:
      InputError: a file is damaged, has another layout, or what cannot be trained on; names the record, of which a
        file's first is 0. Or there is no record.
    """
    look: _Look | None = None
    by_file = dict.fromkeys(files, 0)
    for path in files:
        with open_file(path) as file:
            read = read_tfrecords(file, path)
            for number in itertools.count(0, _RECORDS_AT_ONCE):
                if not (serialized := list(itertools.islice(read, _RECORDS_AT_ONCE))):
                    break
                batch = _Batch(path, number, serialized)
                look = look or _look_for(batch, vocab_size, segments)
                look.take(batch)
                by_file[path] += len(batch)
                tell(look.records)
    if look is None:
        where = files[0] if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"
        raise InputError(f"{where}: there is no record. Give files that hold examples.")
    return Found(look.layout(), look.records, look.examples, look.tokens, look.longest, by_file)


# === Batches ===


class _Batch:
    """Records that stand one after another in a file, as columns.

    Args:
      path: the file.
      first: number of the first record.
      serialized: the records.
    """

    def __init__(self, path: str, first: int, serialized: list[bytes]):
        self._path, self._first, self._size = path, first, len(serialized)
        try:
            columns = records.decode(serialized)
        except RuntimeError:
            columns = self._decoded_up_to_the_bad_one(serialized)
        self._columns = dict(zip(columns.schema.names, columns.columns, strict=True))

    def __len__(self) -> int:
        return self._size

    def _decoded_up_to_the_bad_one(self, serialized: list[bytes]) -> pa.RecordBatch:
        """Raises InputError: there is one."""
        for row in range(len(serialized)):
            try:
                records.decode(serialized[: row + 1])
            except RuntimeError as error:
                reason = str(error).partition(": ")[2]
                raise self.error(row, f"it cannot be read as those before ({reason})") from error
        raise AssertionError("what all records have, some have too")

    @property
    def features(self) -> set[str]:
        """Those of the first record."""
        return {name for name, column in self._columns.items() if column[0].is_valid}

    def error(self, row: int, words: str) -> InputError:
        return InputError(f"{self._path}, record {self._first + row}: {words}.")

    def refuse(self, bad: np.ndarray, words: Callable[[int], str]) -> None:
        """Raises InputError for the first row that is bad: bool [M]."""
        if bad.any():
            row = int(bad.argmax())
            raise self.error(row, words(row))

    def column(self, name: str, kind: pa.DataType) -> Ragged:
        """The rows of a feature, which each record must have."""
        if name not in self._columns:
            raise self.error(0, f"has no feature {name}")
        column = self._columns[name]
        self.refuse(column.is_null().to_numpy(False), lambda _: f"has no feature {name}")
        if column.type.value_type != kind:
            raise self.error(0, f"{name} is of type {column.type.value_type}, not {kind}")
        return Ragged.from_lengths(column.flatten().to_numpy(), column.value_lengths().to_numpy())

    def integers(self, name: str, below: int, reason: str) -> Ragged:
        """A feature of whole numbers from 0 on."""
        rows = self.column(name, pa.int64())
        if len(rows.values) and not 0 <= rows.values.min() <= rows.values.max() < below:
            place = int(((rows.values < 0) | (rows.values >= below)).argmax())
            row = int(np.searchsorted(rows.offsets, place, side="right")) - 1
            raise self.error(row, f"{name} has {rows.values[place]}, and {reason}")
        return rows

    def of_length(self, rows: Ragged, length: int | np.ndarray, name: str, words: str) -> None:
        """Makes sure that each row has so many values."""
        lengths = np.broadcast_to(length, self._size)
        self.refuse(
            rows.lengths != lengths, lambda row: f"{name} has {rows.lengths[row]} values, and {lengths[row]} {words}"
        )


# === Layouts ===


def _look_for(batch: _Batch, vocab_size: int, segments: int) -> _Look:
    """By the first record of all."""
    there = batch.features
    if "segment_a_length" in there:
        if missing := set(_COMPACT) - there:
            deferred = missing == {"masked_lm_positions", "masked_lm_ids"}
            remedy = (
                ". Its masks were to be drawn when it is read: make records with masking: static" if deferred else ""
            )
            raise batch.error(0, f"has no feature {', '.join(sorted(missing))}{remedy}")
        return (_PackedLook if EXAMPLE_LENGTHS in there else _CompactLook)(vocab_size, segments)
    if missing := set(_PADDED) - there:
        raise batch.error(
            0,
            f"has no feature {', '.join(sorted(missing))}; it has {', '.join(sorted(there)) or 'none'}. "
            "Pre-training examples of google-research/albert's layout or of this project's are asked for",
        )
    return _PaddedLook(vocab_size, segments)


class _Look:
    """Takes in batches of one layout."""

    def __init__(self, vocab_size: int, segments: int):
        self.records = self.examples = self.tokens = self.longest = self.predictions = 0
        self._segments = segments
        self._vocab_size = vocab_size
        self._vocabulary = f"vocab_size is {vocab_size}. Give the config of the vocabulary that it was made with"

    def take(self, batch: _Batch) -> None:
        raise NotImplementedError

    def layout(self) -> Layout:
        raise NotImplementedError

    def _pieces(self, batch: _Batch, name: str) -> Ragged:
        return batch.integers(name, self._vocab_size, self._vocabulary)

    def _largest(self, one: int, values: np.ndarray) -> int:
        return max(one, int(np.max(values, initial=0)))


class _PaddedLook(_Look):
    def take(self, batch: _Batch) -> None:
        pieces = self._pieces(batch, "input_ids")
        labels = self._pieces(batch, "masked_lm_ids")
        self.longest = self.longest or int(pieces.lengths[0])
        self.predictions = self.predictions or int(labels.lengths[0])
        mask = batch.integers("input_mask", 2, "it is 1 at pieces and 0 behind them")
        bounds = f"the model tells {self._segments} segments apart (type_vocab_size)"
        wide = {
            "input_ids": pieces,
            "input_mask": mask,
            "segment_ids": batch.integers("segment_ids", self._segments, bounds),
        }
        narrow = {
            "masked_lm_ids": labels,
            "masked_lm_positions": batch.integers(
                "masked_lm_positions", self.longest, f"the record has {self.longest} pieces"
            ),
            "masked_lm_weights": batch.column("masked_lm_weights", pa.float32()),
        }
        order = batch.integers(ORDER_FEATURE, 2, "it is 0 or 1")
        for columns, length in ((wide, self.longest), (narrow, self.predictions), ({ORDER_FEATURE: order}, 1)):
            for name, column in columns.items():
                batch.of_length(column, length, name, "are in those before")
        self.records += len(batch)
        self.examples += len(batch)
        self.tokens += int(mask.values.sum())

    def layout(self) -> Layout:
        return Layout(True, self.longest, self.predictions)


class _CompactLook(_Look):
    """Records that are an example each."""

    def __init__(self, vocab_size: int, segments: int):
        super().__init__(vocab_size, segments)
        self.row_length = self.row_examples = 0

    def take(self, batch: _Batch) -> None:
        pieces = self._pieces(batch, "input_ids")
        labels = self._pieces(batch, "masked_lm_ids")
        positions = batch.column("masked_lm_positions", pa.int64())
        batch.of_length(positions, labels.lengths, "masked_lm_positions", "are in masked_lm_ids")
        outside = positions.values >= np.repeat(pieces.lengths, positions.lengths)
        rows = np.repeat(np.arange(len(batch)), positions.lengths)
        batch.refuse(
            np.bincount(rows[outside | (positions.values < 0)], minlength=len(batch)) > 0,
            lambda row: f"masked_lm_positions has a place that is not among its {pieces.lengths[row]} pieces",
        )
        lengths = self._example_lengths(batch, pieces)
        batch.integers("sentence_order_label", 2, "it is 0 or 1")
        batch.integers("sentence_order_weight", 2, "it is 0 or 1")
        for name in SCALAR_FEATURES:
            batch.of_length(batch.column(name, pa.int64()), lengths.lengths, name, "are the record's examples")
        self.records += len(batch)
        self.examples += len(lengths.values)
        self.tokens += len(pieces.values)
        self.longest = self._largest(self.longest, lengths.values)
        self.row_length = self._largest(self.row_length, pieces.lengths)
        self.row_examples = self._largest(self.row_examples, lengths.lengths)
        self.predictions = self._largest(self.predictions, labels.lengths)

    def _example_lengths(self, batch: _Batch, pieces: Ragged) -> Ragged:
        """Pieces of each example."""
        return Ragged.from_lengths(pieces.lengths, np.ones(len(batch), np.int64))

    def layout(self) -> Layout:
        return Layout(False, self.row_length, max(1, self.predictions))


class _PackedLook(_CompactLook):
    """Records that are rows of examples."""

    def _example_lengths(self, batch: _Batch, pieces: Ragged) -> Ragged:
        lengths = batch.column(EXAMPLE_LENGTHS, pa.int64())
        rows = np.repeat(np.arange(len(batch)), lengths.lengths)
        sums = np.bincount(rows, lengths.values, len(batch)).astype(np.int64)
        batch.refuse(sums != pieces.lengths, lambda row: f"{EXAMPLE_LENGTHS} and input_ids do not agree")
        return lengths

    def layout(self) -> Layout:
        return Layout(False, self.row_length, max(1, self.predictions), self.row_examples)
