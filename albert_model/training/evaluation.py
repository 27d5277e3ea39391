"""Scores of a model on records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import tensorflow as tf

from albert_model.config import AlbertConfig
from albert_model.network.pretrainer import score_examples
from albert_model.training.input_pipeline import Parse, evaluation_batches
from albert_model.training.metrics import summarize
from albert_model.weights import network as network_weights
from albert_model.weights.names import Weights


def evaluate(
    config: AlbertConfig,
    weights: Weights,
    files: Sequence[str],
    parse: Parse,
    batch_size: int,
    max_batches: int | None = None,
) -> dict[str, float]:
    """The figures of `metrics.summarize`, over all examples of some files.

    Args:
      config: sizes.
      weights: of all parts.
      files: TFRecord files.
      parse: see `input_pipeline.Parse`.
      batch_size: examples that are scored at once.
      max_batches: batches at most; None: all.
    """
    network = network_weights.loaded(config, weights, "the model to score")

    @tf.function(reduce_retracing=True)
    def sums_of(batch) -> dict[str, tf.Tensor]:
        scores = score_examples(network(batch), batch)
        return {name: tf.reduce_sum(value) for name, value in scores.items()}

    sums: Counter[str] = Counter()
    for batch in evaluation_batches(files, parse, batch_size).take(-1 if max_batches is None else max_batches):
        sums.update({name: float(value) for name, value in sums_of(batch).items()})
    return summarize(sums)
