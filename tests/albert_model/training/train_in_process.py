"""A training in a process of its own, which may be killed, or be one of several."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from albert_model.config import AlbertConfig
from albert_model.training.input_pipeline import Bin
from albert_model.training.loop import TrainingData, TrainingFolders, train
from albert_model.training.settings import TrainingSettings
from albert_model.training.strategies import make_strategy
from tests.albert_model.training.conftest import SETTINGS as EXAMPLES
from tests.albert_model.training.conftest import parser


def main(job: dict) -> None:
    """`job`: `folder` (of metrics), `checkpoints`, `target` (where the weights go), `config`, `settings`,
    `train_files`, `eval_files`, `records`, `devices` (of this process).
    """
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * job["devices"])
    settings = TrainingSettings(**job["settings"])
    if settings.strategy == "mirror":
        # MirroredStrategy takes all GPUs and otherwise one CPU, so the logical ones are named.
        strategy = tf.distribute.MirroredStrategy([device.name for device in tf.config.list_logical_devices("CPU")])
    else:
        strategy = make_strategy(settings)
    bins = [Bin(tuple(job["train_files"]), job["records"])]
    data = TrainingData(bins, job["eval_files"], parser(EXAMPLES), parser(EXAMPLES))
    folders = TrainingFolders(Path(job["checkpoints"]), Path(job["folder"], "metrics"))
    weights, _ = train(AlbertConfig(**job["config"]), settings, data, None, folders, strategy)
    np.savez(job["target"], **weights)
