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
      custom_config: `max_seq_length` (S), `max_predictions` (P, of a record), and `examples_per_row` (K), None where
        examples are not packed.

    Returns:
      int64 [B, S]: `input_word_ids`, `input_mask`, `input_type_ids`; [B, P]: `masked_lm_positions`,
      `masked_lm_ids`, `masked_lm_weights` (float32); [B]: `sentence_order_label`, `sentence_order_weight`.
      Of packed examples [B, K] of these two, and `sentence_order_positions`, [B, K], `position_ids` and
      `example_numbers`, [B, S].
    """
    length, predictions = custom_config["max_seq_length"], custom_config["max_predictions"]
    input_mask = _presence(inputs["input_ids"], length)
    padded = {
        "input_word_ids": _pad(inputs["input_ids"], length),
        "input_mask": input_mask,
        "masked_lm_positions": _pad(inputs["masked_lm_positions"], predictions),
        "masked_lm_ids": _pad(inputs["masked_lm_ids"], predictions),
        "masked_lm_weights": tf.cast(_presence(inputs["masked_lm_ids"], predictions), tf.float32),
    }
    if custom_config["examples_per_row"]:
        return padded | _packed(inputs, input_mask, custom_config["examples_per_row"])
    in_segment_b = tf.range(length, dtype=tf.int64)[None, :] >= _scalar(inputs["segment_a_length"])[:, None]
    return padded | {
        "input_type_ids": input_mask * tf.cast(in_segment_b, tf.int64),
        "sentence_order_label": _scalar(inputs["sentence_order_label"]),
        "sentence_order_weight": _scalar(inputs["sentence_order_weight"]),
    }


def _packed(inputs: dict[str, tf.SparseTensor], mask_BS: tf.Tensor, most: int) -> dict[str, tf.Tensor]:
    """What tells the examples of a row from each other, and what is said of each."""
    lengths_BK = _pad(inputs["example_lengths"], most)
    ends_BK = tf.cumsum(lengths_BK, 1)
    starts_BK = ends_BK - lengths_BK
    places_BS = tf.cumsum(tf.ones_like(mask_BS), 1, exclusive=True)
    example_BS = tf.minimum(tf.searchsorted(ends_BK, places_BS, side="right", out_type=tf.int64), most - 1)
    position_ids = mask_BS * (places_BS - tf.gather(starts_BK, example_BS, batch_dims=1))
    a_lengths_BS = tf.gather(_pad(inputs["segment_a_length"], most), example_BS, batch_dims=1)
    return {
        "input_type_ids": mask_BS * tf.cast(position_ids >= a_lengths_BS, tf.int64),
        "position_ids": position_ids,
        "example_numbers": mask_BS * (example_BS + 1),
        "sentence_order_positions": tf.where(lengths_BK > 0, starts_BK, 0),
        "sentence_order_label": _pad(inputs["sentence_order_label"], most),
        "sentence_order_weight": _pad(inputs["sentence_order_weight"], most),
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
