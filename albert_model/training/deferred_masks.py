"""Masks that are drawn when training reads an example, so that it is masked anew in each epoch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from albert_model.text import draws
from albert_model.text.masking import mask
from albert_model.text.packing import EXAMPLE_LENGTHS
from albert_model.text.ragged import Ragged
from albert_model.text.settings import ExampleSettings
from albert_model.text.tokenizer import Tokenizer


class DeferredMasks:
    """Adds masks to batches of records without, by the law of `albert_model.text.masking`.

    What is drawn depends on the seed, the step, the record's row in the whole batch, and the example's place in it.

    Args:
      tokenizer: of the records.
      settings: budget and n-gram law.
      seed: of the training.
    """

    def __init__(self, tokenizer: Tokenizer, settings: ExampleSettings, seed: int):
        self._tokenizer, self._settings = tokenizer, settings
        self._key = draws.derive(np.zeros(1, np.uint64), seed)

    def __call__(
        self, features: Mapping[str, tf.SparseTensor], step: tf.Tensor, rows: tf.Tensor
    ) -> dict[str, tf.SparseTensor]:
        """The features of records, or of rows of packed ones, with masks.

        Args:
          features: `input_ids`, `segment_a_length` and, of packed records, `example_lengths`; others stay as they are.
          step: int64 scalar.
          rows: int64 [B], the records' rows in the whole batch.
        """
        ids = tf.RaggedTensor.from_sparse(features["input_ids"])
        a_lengths = tf.RaggedTensor.from_sparse(features["segment_a_length"])
        lengths = (
            tf.RaggedTensor.from_sparse(features[EXAMPLE_LENGTHS]).values
            if EXAMPLE_LENGTHS in features
            else ids.row_lengths()
        )
        values, positions, labels, splits = tf.numpy_function(
            self._draw, [ids.values, lengths, a_lengths.values, a_lengths.row_splits, step, rows], [tf.int64] * 4
        )
        masked = {
            "input_ids": tf.RaggedTensor.from_row_splits(values, ids.row_splits),
            "masked_lm_positions": tf.RaggedTensor.from_row_splits(positions, splits),
            "masked_lm_ids": tf.RaggedTensor.from_row_splits(labels, splits),
        }
        return {**features, **{name: column.to_sparse() for name, column in masked.items()}}

    def _draw(
        self,
        ids: np.ndarray,
        lengths: np.ndarray,
        a_lengths: np.ndarray,
        row_splits: np.ndarray,
        step: np.int64,
        rows: np.ndarray,
    ) -> tuple[np.ndarray, ...]:
        """Ids, positions in the rows, labels, and the row splits of these two.

        Args:
          ids: int64, of all examples.
          lengths: int64 [M].
          a_lengths: int64 [M].
          row_splits: int64 [B + 1], the first example of each row.
          step, rows: key the draws.
        """
        sequences = Ragged.from_lengths(ids.astype(np.int32), lengths)
        counts = np.diff(row_splits)
        row_keys = draws.derive(draws.derive(self._key, int(step)), rows)
        keys = draws.derive(np.repeat(row_keys, counts), np.arange(len(lengths)) - np.repeat(row_splits[:-1], counts))
        masked = mask(sequences, a_lengths, self._settings, self._tokenizer, keys)
        row_starts = np.repeat(sequences.offsets[row_splits[:-1]], counts)
        positions = masked.positions.values + np.repeat(sequences.offsets[:-1] - row_starts, masked.positions.lengths)
        columns = (masked.ids.values, positions, masked.labels.values, masked.positions.offsets[row_splits])
        return tuple(column.astype(np.int64) for column in columns)
