"""Serialised records of any layout to the model's inputs."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from albert_model.text.examples import RAGGED_FEATURES, SCALAR_FEATURES
from albert_model.text.packing import EXAMPLE_LENGTHS
from albert_model.text.record_scan import ORDER_FEATURE, PIECE_FEATURES, PREDICTION_FEATURES, Layout
from albert_model.training.compact_inputs import compact_inputs


def parser(layout: Layout) -> Callable[..., dict[str, tf.Tensor]]:
    """Gives what turns serialised records, string [B], into inputs and labels; see `compact_inputs` for these.

    It is a `Parse` and a `ParseToTrain`: the place of a record in training changes nothing.
    """
    read = _padded_inputs if layout.padded else _compact_inputs
    return lambda serialized, *_place: read(serialized, layout)


def _padded_inputs(serialized: tf.Tensor, layout: Layout) -> dict[str, tf.Tensor]:
    """Of google-research/albert's layout, which cannot say that the order of a pair says nothing."""
    lengths = dict.fromkeys(PIECE_FEATURES, layout.max_seq_length) | {ORDER_FEATURE: 1}
    lengths |= dict.fromkeys(PREDICTION_FEATURES, layout.max_predictions)
    spec = {
        name: tf.io.FixedLenFeature([length], tf.float32 if name == "masked_lm_weights" else tf.int64)
        for name, length in lengths.items()
    }
    features = tf.io.parse_example(serialized, spec)
    label = features[ORDER_FEATURE][:, 0]
    return {
        "input_word_ids": features["input_ids"],
        "input_mask": features["input_mask"],
        "input_type_ids": features["segment_ids"],
        **{name: features[name] for name in PREDICTION_FEATURES},
        "sentence_order_label": label,
        "sentence_order_weight": tf.ones_like(label),
    }


def _compact_inputs(serialized: tf.Tensor, layout: Layout) -> dict[str, tf.Tensor]:
    names = (*RAGGED_FEATURES, *SCALAR_FEATURES, *([EXAMPLE_LENGTHS] if layout.examples_per_row else []))
    features = tf.io.parse_example(serialized, {name: tf.io.VarLenFeature(tf.int64) for name in names})
    return compact_inputs(features, layout.max_seq_length, layout.max_predictions, layout.examples_per_row)
