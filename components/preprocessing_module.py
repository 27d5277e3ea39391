"""Transform's `preprocessing_fn`: compact records to the model's inputs.

The one place where this happens: training, evaluation and serving run the graph that Transform makes of it.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def preprocessing_fn(inputs: dict[str, tf.SparseTensor], custom_config: dict[str, Any]) -> dict[str, tf.Tensor]:
    """Pads to static shapes.

    Args:
      inputs: the features of `albert_model.text.examples`, as sparse tensors.
      custom_config: `max_seq_length` (S) and `max_predictions_per_seq` (P).

    Returns:
      int64 [B, S]: `input_word_ids`, `input_mask`, `input_type_ids`; [B, P]: `masked_lm_positions`,
      `masked_lm_ids`, `masked_lm_weights` (float32); [B]: `sentence_order_label`,
      `sentence_order_weight`.
    """
    length, predictions = custom_config["max_seq_length"], custom_config["max_predictions_per_seq"]
    input_mask = _presence(inputs["input_ids"], length)
    in_segment_b = tf.range(length, dtype=tf.int64)[None, :] >= _scalar(inputs["segment_a_length"])[:, None]
    return {
        "input_word_ids": _pad(inputs["input_ids"], length),
        "input_mask": input_mask,
        "input_type_ids": input_mask * tf.cast(in_segment_b, tf.int64),
        "masked_lm_positions": _pad(inputs["masked_lm_positions"], predictions),
        "masked_lm_ids": _pad(inputs["masked_lm_ids"], predictions),
        "masked_lm_weights": tf.cast(_presence(inputs["masked_lm_ids"], predictions), tf.float32),
        "sentence_order_label": _scalar(inputs["sentence_order_label"]),
        "sentence_order_weight": _scalar(inputs["sentence_order_weight"]),
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
