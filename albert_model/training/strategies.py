"""Where the network trains."""

from __future__ import annotations

import tensorflow as tf

from albert_model.training.settings import TrainingSettings


def make_strategy(settings: TrainingSettings) -> tf.distribute.Strategy:
    """The tf.distribute strategy that a setting names."""
    if settings.strategy == "one":
        return tf.distribute.get_strategy()
    return tf.distribute.MirroredStrategy()
