"""The model's inputs, from the features of this project's compact records.

The one place where this happens: Transform makes its graph of it, which training, evaluation and serving run, and
`albert run-pretraining` calls it.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf


def compact_inputs(
    features: Mapping[str, tf.SparseTensor], max_seq_length: int, max_predictions: int, examples_per_row: int | None
) -> dict[str, tf.Tensor]:
    """Pads to static shapes.

    Args:
      features: those of `albert_model.text.examples`, as sparse tensors.
      max_seq_length: S.
      max_predictions: P, of a record.
      examples_per_row: K; None where examples are not packed.

    Returns:
      int64 [B, S]: `input_word_ids`, `input_mask`, `input_type_ids`; [B, P]: `masked_lm_positions`,
      `masked_lm_ids`, `masked_lm_weights` (float32); [B]: `sentence_order_label`, `sentence_order_weight`.
      Of packed examples [B, K] of these two, and `sentence_order_positions`, [B, K], `position_ids` and
      `example_numbers`, [B, S].
    """
    input_mask = _presence(features["input_ids"], max_seq_length)
    padded = {
        "input_word_ids": _pad(features["input_ids"], max_seq_length),
        "input_mask": input_mask,
        "masked_lm_positions": _pad(features["masked_lm_positions"], max_predictions),
        "masked_lm_ids": _pad(features["masked_lm_ids"], max_predictions),
        "masked_lm_weights": tf.cast(_presence(features["masked_lm_ids"], max_predictions), tf.float32),
    }
    if examples_per_row:
        return padded | _packed(features, input_mask, examples_per_row)
    in_segment_b = tf.range(max_seq_length, dtype=tf.int64)[None, :] >= _scalar(features["segment_a_length"])[:, None]
    return padded | {
        "input_type_ids": input_mask * tf.cast(in_segment_b, tf.int64),
        "sentence_order_label": _scalar(features["sentence_order_label"]),
        "sentence_order_weight": _scalar(features["sentence_order_weight"]),
    }


def _packed(features: Mapping[str, tf.SparseTensor], mask_BS: tf.Tensor, most: int) -> dict[str, tf.Tensor]:
    """What tells the examples of a row from each other, and what is said of each."""
    lengths_BK = _pad(features["example_lengths"], most)
    ends_BK = tf.cumsum(lengths_BK, 1)
    starts_BK = ends_BK - lengths_BK
    places_BS = tf.cumsum(tf.ones_like(mask_BS), 1, exclusive=True)
    example_BS = tf.minimum(tf.searchsorted(ends_BK, places_BS, side="right", out_type=tf.int64), most - 1)
    position_ids = mask_BS * (places_BS - tf.gather(starts_BK, example_BS, batch_dims=1))
    a_lengths_BS = tf.gather(_pad(features["segment_a_length"], most), example_BS, batch_dims=1)
    return {
        "input_type_ids": mask_BS * tf.cast(position_ids >= a_lengths_BS, tf.int64),
        "position_ids": position_ids,
        "example_numbers": mask_BS * (example_BS + 1),
        "sentence_order_positions": tf.where(lengths_BK > 0, starts_BK, 0),
        "sentence_order_label": _pad(features["sentence_order_label"], most),
        "sentence_order_weight": _pad(features["sentence_order_weight"], most),
    }


def _pad(values: tf.SparseTensor, width: int) -> tf.Tensor:
    """int64 [B, width], zeros (the id of <pad>) at the end of each row."""
    widened = tf.SparseTensor(values.indices, values.values, tf.stack([values.dense_shape[0], width]))
    dense = tf.sparse.to_dense(widened)
    dense.set_shape([None, width])
    return dense


def _presence(values: tf.SparseTensor, width: int) -> tf.Tensor:
    return _pad(tf.SparseTensor(values.indices, tf.ones_like(values.values), values.dense_shape), width)


def _scalar(values: tf.SparseTensor) -> tf.Tensor:
    """int64 [B]."""
    return _pad(values, 1)[:, 0]
