"""Trains on a number of logical devices and saves the weights: python -m … DEVICES TARGET CONFIG DATA."""

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from albert_model.config import AlbertConfig
from albert_model.training.loop import TrainingData, TrainingFolders, train
from albert_model.training.settings import TrainingSettings
from tests.albert_model.training.conftest import SETTINGS as EXAMPLES
from tests.albert_model.training.conftest import parser

SETTINGS = TrainingSettings(batch_size=8, max_steps=10, learning_rate=0.01, warmup_steps=2, log_every=5)


def main(
    devices: int, target: str, config: AlbertConfig, train_files: list[str], eval_files: list[str], examples: int
) -> None:
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * devices)
    # MirroredStrategy takes all GPUs and otherwise one CPU, so the logical ones are named.
    names = [device.name for device in tf.config.list_logical_devices("CPU")]
    original = tf.distribute.MirroredStrategy
    tf.distribute.MirroredStrategy = lambda: original(names)
    folder = Path(target).with_suffix("")
    data = TrainingData(train_files, eval_files, examples, parser(EXAMPLES), parser(EXAMPLES))
    weights, _ = train(config, SETTINGS, data, None, TrainingFolders(folder / "checkpoints", folder / "metrics"))
    np.savez(target, **weights)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], AlbertConfig.model_validate_json(sys.argv[3]), *json.loads(sys.argv[4]))
