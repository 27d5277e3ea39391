"""Prints the bytes that training steps need at their peak, beyond those that the process has when the network is made.

python measure_memory.py '{…fields of AlbertConfig}' '{…fields of TrainingSettings}' LENGTH PREDICTIONS
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import tensorflow as tf

from albert_model.config import AlbertConfig
from albert_model.network.pretrainer import ENCODER_INPUTS
from albert_model.training.loop import TrainingFolders, _Training
from albert_model.training.settings import TrainingSettings
from albert_model.training.strategies import make_strategy

_STEPS = 3


def main(config: str, settings: str, length: str, predictions: str) -> None:
    recipe = TrainingSettings(**json.loads(settings))
    with tempfile.TemporaryDirectory() as folder:
        folders = TrainingFolders(Path(folder, "checkpoints"), Path(folder, "metrics"))
        training = _Training(AlbertConfig(**json.loads(config)), recipe, 1000, make_strategy(recipe), None, folders, ())
        batch = _batch(recipe.batch_size, int(length), int(predictions))
        training.train_step.get_concrete_function(batch)
        before = _status("VmRSS")
        for _ in range(_STEPS):
            training.train_step(batch)
        print(_status("VmHWM") - before)
        training.checkpoints.close()


def _batch(rows: int, length: int, predictions: int) -> dict[str, tf.Tensor]:
    batch = {name: tf.ones((rows, length), tf.int64) for name in ENCODER_INPUTS}
    batch |= {name: tf.ones((rows, predictions), tf.int64) for name in ("masked_lm_positions", "masked_lm_ids")}
    batch |= {name: tf.ones((rows,), tf.int64) for name in ("sentence_order_label", "sentence_order_weight")}
    return batch | {"masked_lm_weights": tf.ones((rows, predictions))}


def _status(name: str) -> int:
    """Bytes, of Linux."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    main(*sys.argv[1:])
