"""Several short examples in one record, so that less of a batch is padding.

The record of a row has the features of an example, those of its examples one after another, and
`example_lengths`, int64 [E], the pieces of each. `masked_lm_positions` count from the row's start. The model must
keep examples from attending to each other.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from albert_model.text import records
from albert_model.text.ragged import Ragged, offsets_of
from albert_model.text.settings import ExampleSettings

EXAMPLE_LENGTHS = "example_lengths"


def predictions_per_row(settings: ExampleSettings) -> int:
    """Predictions that the record of a row can have; of an example, where examples are not packed.

    A row of S pieces has at most p·S predictions, and one more for each example, as budgets are rounded.

    >>> predictions_per_row(ExampleSettings(packing="pack", examples_per_row=8))
    84
    """
    if settings.packing != "pack":
        return settings.max_predictions_per_seq
    rounded = int(settings.masked_lm_prob * settings.max_seq_length) + settings.examples_per_row
    return min(rounded, settings.examples_per_row * settings.max_predictions_per_seq)


def choose_rows(lengths: np.ndarray, row_length: int, examples_per_row: int) -> Ragged:
    """Which examples stand in a row together: best fit, the longest first.

    >>> rows = choose_rows(np.array([6, 5, 3, 4, 2]), row_length=10, examples_per_row=3)
    >>> [row.tolist() for row in rows.rows()]
    [[0, 3], [1, 2, 4]]

    Args:
      lengths: int64 [M], pieces of each example, at most `row_length`.
      row_length: pieces of a row.
      examples_per_row: examples in a row at most.

    Returns:
      Numbers of examples; in a row ascending, and the rows in the order of their first ones.
    """
    rows: list[list[int]] = []
    with_room: list[list[int]] = [[] for _ in range(row_length + 1)]  # by the pieces that are left; rows
    rooms = 0  # bit n is set where with_room[n] is not empty
    sizes = lengths.tolist()
    for example in np.argsort(-lengths, kind="stable").tolist():
        size = sizes[example]
        if fitting := rooms >> size:
            left = (fitting & -fitting).bit_length() - 1 + size
            row = with_room[left].pop()
            if not with_room[left]:
                rooms ^= 1 << left
            rows[row].append(example)
        else:
            left, row = row_length, len(rows)
            rows.append([example])
        if len(rows[row]) < examples_per_row:
            with_room[left - size].append(row)
            rooms |= 1 << left - size
    return Ragged.from_rows(sorted(sorted(row) for row in rows), np.int64)


def pack(examples: Iterable[bytes], row_length: int, examples_per_row: int) -> list[bytes]:
    """Records of examples to records of rows, that are ordered as the first examples in them are."""
    examples = list(examples)
    if not examples:
        return []
    columns = dict(zip((batch := records.decode(examples)).schema.names, batch.columns, strict=True))
    lengths = _lengths(columns["input_ids"])
    rows = choose_rows(lengths, row_length, examples_per_row)
    of_rows = {name: column.take(pa.array(rows.values)) for name, column in columns.items()}
    lengths = lengths[rows.values]
    if (positions := of_rows.get("masked_lm_positions")) is not None:
        starts = offsets_of(lengths)
        shift = starts[:-1] - np.repeat(starts[rows.offsets[:-1]], rows.lengths)
        shifted = positions.flatten().to_numpy() + np.repeat(shift, _lengths(positions))
        of_rows["masked_lm_positions"] = pa.LargeListArray.from_arrays(offsets_of(_lengths(positions)), shifted)
    packed = {name: _join(column, rows.offsets) for name, column in of_rows.items()}
    return records.encode(packed | {EXAMPLE_LENGTHS: records.ragged(Ragged(lengths, rows.offsets))})


def _lengths(column: pa.Array) -> np.ndarray:
    return column.value_lengths().to_numpy()


def _join(column: pa.Array, rows: np.ndarray) -> pa.Array:
    """The lists of each row's examples as one list."""
    return pa.LargeListArray.from_arrays(offsets_of(_lengths(column))[rows], column.flatten())
