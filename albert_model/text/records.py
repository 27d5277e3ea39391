"""Columns ⇄ serialised tf.train.Examples, many at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from tfx_bsl.coders import example_coder

from albert_model.text.ragged import Ragged


def encode(columns: Mapping[str, pa.Array]) -> list[bytes]:
    """One serialised tf.train.Example for each row; equal rows have equal bytes.

    The encoder writes the features of an Example in an order that changes from call to call. So it is given one
    feature at a time, and the pieces are joined in the order of the names: concatenated messages are by
    definition one message with the fields of all (protobuf's encoding guide, "Last One Wins").
    """
    encoder = example_coder.RecordBatchToExamplesEncoder()
    features = [encoder.encode(pa.RecordBatch.from_arrays([columns[name]], [name])) for name in sorted(columns)]
    return [b"".join(parts) for parts in zip(*features, strict=True)]


def decode(records: Sequence[bytes]) -> pa.RecordBatch:
    """The rows' features as list columns."""
    return example_coder.ExamplesToRecordBatchDecoder().DecodeBatch(list(records))


def ragged(rows: Ragged) -> pa.Array:
    """A list column of int64."""
    return pa.LargeListArray.from_arrays(rows.offsets, pa.array(rows.values, pa.int64()))


def matrix(rows: np.ndarray) -> pa.Array:
    """A list column of rows of one length: int64, or float32."""
    return pa.LargeListArray.from_arrays(np.arange(len(rows) + 1) * rows.shape[1], pa.array(rows.ravel()))


def scalars(values: np.ndarray | Sequence[str]) -> pa.Array:
    """A list column with one value a row: int64, or UTF-8."""
    column = pa.array(values) if isinstance(values, np.ndarray) else pa.array(values, pa.large_binary())
    return pa.LargeListArray.from_arrays(np.arange(len(values) + 1), column)


def bytes_lists(rows: Sequence[Sequence[str]]) -> pa.Array:
    """A list column of UTF-8 strings."""
    return pa.array([[value.encode() for value in row] for row in rows], pa.large_list(pa.large_binary()))
