"""Sums of `score_examples` to the figures people read, and where these are written."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

from albert_model.publishing.stores import as_os_error

LOSS_GUARD = 1e-5  # in the denominator of the published loss


def summarize(sums: Mapping[str, float]) -> dict[str, float]:
    """Means over predictions and examples.

    Args:
      sums: of `score_examples` over any set of examples.

    Returns:
      `mlm_loss` (nats a prediction), `mlm_accuracy`, `sop_loss`, `sop_accuracy`, and `loss`, the sum that is
      trained on.
    """
    predictions = sums["mlm_predictions"] + LOSS_GUARD
    orders = max(sums["sop_predictions"], 1.0)  # there are none in text without an order
    figures = {
        "mlm_loss": sums["mlm_loss"] / predictions,
        "mlm_accuracy": sums["mlm_hits"] / predictions,
        "sop_loss": sums["sop_loss"] / orders,
        "sop_accuracy": sums["sop_hits"] / orders,
    }
    return figures | {"loss": figures["mlm_loss"] + figures["sop_loss"]}


class MetricsWriter:
    """Appends figures to `metrics.jsonl` and to TensorBoard event files under one folder.

    Args:
      folder: made if need be; on a disk, or a path that `tf.io.gfile` knows.
    """

    def __init__(self, folder: str | Path):
        self.folder = str(folder)
        with as_os_error(self.folder):
            tf.io.gfile.makedirs(self.folder)
        self._events = {
            split: tf.summary.create_file_writer(os.path.join(self.folder, split)) for split in ("train", "eval")
        }

    def write(self, split: str, step: int, figures: Mapping[str, float]) -> None:
        with self._events[split].as_default():
            for name, value in figures.items():
                tf.summary.scalar(name, value, step=step)
        self._events[split].flush()
        path = os.path.join(self.folder, "metrics.jsonl")
        with as_os_error(path), tf.io.gfile.GFile(path, "a") as file:
            file.write(json.dumps({"split": split, "step": step, **figures}) + "\n")
