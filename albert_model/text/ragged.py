"""Rows of different lengths as two arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Ragged(NamedTuple):
    """Rows in one array, one after another.

    Attributes:
      values: [N] of all rows.
      offsets: int64 [R + 1]; row r is `values[offsets[r] : offsets[r + 1]]`.
    """

    values: np.ndarray
    offsets: np.ndarray

    @classmethod
    def from_lengths(cls, values: np.ndarray, lengths: np.ndarray) -> Ragged:
        return cls(values, offsets_of(lengths))

    @classmethod
    def from_rows(cls, rows: Sequence[Sequence[int]], dtype: type = np.int32) -> Ragged:
        values = np.concatenate([np.asarray(row, dtype) for row in rows]) if rows else np.zeros(0, dtype)
        return cls.from_lengths(values, np.array([len(row) for row in rows], np.int64))

    @property
    def lengths(self) -> np.ndarray:
        """int64 [R]."""
        return np.diff(self.offsets)

    def rows(self) -> list[np.ndarray]:
        """Each row by itself; views."""
        return np.split(self.values, self.offsets[1:-1]) if len(self.offsets) > 1 else []


def offsets_of(lengths: np.ndarray) -> np.ndarray:
    """Where rows of these lengths begin, and where the last one ends: int64 [R + 1].

    >>> offsets_of(np.array([2, 0, 3])).tolist()
    [0, 2, 2, 5]
    """
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """start, start + 1, … of each range, one range after another: int64 [sum of lengths].

    >>> ranges(np.array([7, 3]), np.array([2, 3])).tolist()
    [7, 8, 3, 4, 5]
    """
    offsets = offsets_of(lengths)
    return np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
