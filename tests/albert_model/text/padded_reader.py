"""Reads padded records as google-research/albert's run_pretraining.py does."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import tensorflow as tf


def feature_spec(pieces: int, predictions: int) -> dict[str, tf.io.FixedLenFeature]:
    """The features that its input function asks for."""
    return {
        **{
            name: tf.io.FixedLenFeature([pieces], tf.int64)
            for name in ("input_ids", "input_mask", "segment_ids", "token_boundary")
        },
        "masked_lm_positions": tf.io.FixedLenFeature([predictions], tf.int64),
        "masked_lm_ids": tf.io.FixedLenFeature([predictions], tf.int64),
        "masked_lm_weights": tf.io.FixedLenFeature([predictions], tf.float32),
        "next_sentence_labels": tf.io.FixedLenFeature([1], tf.int64),
    }


def parse(records: Iterable[bytes], pieces: int, predictions: int) -> list[dict[str, np.ndarray]]:
    spec = feature_spec(pieces, predictions)
    parsed = [tf.io.parse_single_example(record, spec) for record in records]
    return [{name: value.numpy() for name, value in example.items()} for example in parsed]


def text_of(example: dict[str, np.ndarray]) -> list[int]:
    """The pieces of both segments as they stood in the document: masks and swap undone."""
    a, b = segments(example)
    return [*b, *a] if example["next_sentence_labels"][0] else [*a, *b]


def segments(example: dict[str, np.ndarray]) -> tuple[list[int], list[int]]:
    """A and B with their masks undone, in the order of the sequence."""
    ids = unmasked(example)
    pieces, length_a = int(example["input_mask"].sum()), int((example["input_mask"] - example["segment_ids"]).sum())
    return ids[1 : length_a - 1].tolist(), ids[length_a : pieces - 1].tolist()


def unmasked(example: dict[str, np.ndarray]) -> np.ndarray:
    """int64 [S]: the pieces before they were masked."""
    ids = example["input_ids"].copy()
    predicted = example["masked_lm_weights"] == 1
    ids[example["masked_lm_positions"][predicted]] = example["masked_lm_ids"][predicted]
    return ids
