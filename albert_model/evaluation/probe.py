"""How well quick classifiers on top of a model do: the same examples, split and seeds for every model."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from albert_model.evaluation.probe_data import Example, ProbeData, read_data
from albert_model.evaluation.probe_settings import ProbeSettings
from albert_model.network.pretrainer import ENCODER_INPUTS, AlbertPretrainer
from albert_model.text.tokenizer import Tokenizer
from albert_model.weights import saved_model
from albert_model.weights.model import Model

_log = logging.getLogger("albert.probe")
_BATCH = 64  # examples that features are computed of at once
_SECONDS_BETWEEN_LINES = 10.0
_WARM_UP = 0.1  # share of the steps
_CLIP_NORM = 1.0
_SMALLEST_DEVIATION = 1e-6  # features that hardly change are not blown up
Arrays = dict[str, np.ndarray]
Forward = Callable[[dict[str, tf.Tensor], bool], tf.Tensor]


@dataclass(frozen=True)
class ProbeScores:
    """What classifiers on one model reached.

    Attributes:
      accuracies: share of the test examples that are told right; one for each seed.
    """

    accuracies: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.accuracies)

    @property
    def spread(self) -> float:
        """Sample standard deviation over the seeds."""
        return statistics.stdev(self.accuracies)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"accuracies": list(self.accuracies), "mean": self.mean, "spread": self.spread}


def run_probe(model: Model, settings: ProbeSettings, data: ProbeData | None = None, name: str = "model") -> ProbeScores:
    """Trains a classifier for each seed on the features of a model, or on a copy of it, and tests them.

    The features are the pooled output and the mean of the sequence output over the pieces.

    Args:
      model: an encoder with its pooler, and a vocabulary. It stays as it is.
      settings: of training.
      data: of `read_data(settings)`, where it was read already.
      name: for progress.

    Raises:
      InputError: see `read_data`.
    """
    data = data or read_data(settings)
    train, test = (encode(examples, model, settings.max_seq_length) for examples in (data.train, data.test))
    labels = [np.array([data.labels.index(e.label) for e in part], np.int32) for part in (data.train, data.test)]
    make = _frozen(model, train, test, name) if settings.frozen else _unfrozen(model, train, test)
    accuracies = []
    for seed in range(settings.seeds):
        accuracies.append(_one_seed(make, labels, len(data.labels), settings, seed))
        _log.info("probe of the %s: seed %d of %d: %.1f %%", name, seed + 1, settings.seeds, 100 * accuracies[-1])
    return ProbeScores(tuple(accuracies))


def report(
    settings: ProbeSettings, data: ProbeData, candidate: ProbeScores, baseline: ProbeScores | None
) -> dict[str, Any]:
    """What `probe.json` holds."""
    return {
        "settings": settings.model_dump(),
        "labels": list(data.labels),
        "train_examples": len(data.train),
        "test_examples": len(data.test),
        "dropped": dict(data.dropped),
        "majority": data.majority,
        "candidate": candidate.to_dict(),
        "baseline": baseline and baseline.to_dict(),
    }


# === Text to inputs ===


def encode(examples: Sequence[Example], model: Model, max_length: int) -> Arrays:
    """[CLS] A [SEP], or [CLS] A [SEP] B [SEP], padded to the longest.

    Of two texts that do not fit, the longer one is cut.

    Returns:
      `ENCODER_INPUTS`, int32 [N, S] each.
    """
    tokenizer, limit = model.tokenizer, min(max_length, model.config.max_position_embeddings)
    firsts, seconds = (tokenizer.encode([e[i] for e in examples]).rows() for i in (0, 1))
    rows = [_row(first, second, tokenizer, limit) for first, second in zip(firsts, seconds, strict=True)]
    arrays = np.zeros((len(ENCODER_INPUTS), len(rows), max(len(ids) for ids, _ in rows)), np.int32)
    for number, (ids, second_from) in enumerate(rows):
        arrays[0, number, : len(ids)] = ids
        arrays[1, number, : len(ids)] = 1
        arrays[2, number, second_from : len(ids)] = 1
    return dict(zip(ENCODER_INPUTS, arrays, strict=True))


def _row(first: np.ndarray, second: np.ndarray, tokenizer: Tokenizer, limit: int) -> tuple[list[int], int]:
    """Ids of an example, and where its second segment begins."""
    room = limit - (3 if len(second) else 2)
    second = second[: max(room // 2, room - len(first))]
    first = first[: room - len(second)]
    ids = [tokenizer.cls_id, *first.tolist(), tokenizer.sep_id]
    return ([*ids, *second.tolist(), tokenizer.sep_id] if len(second) else ids), len(ids)


# === Features ===


def _features(network: AlbertPretrainer, inputs: dict[str, tf.Tensor], training: bool) -> tf.Tensor:
    """Pooled output, and mean of the sequence output over the pieces: float32 [B, 2D]."""
    outputs = network.encoder(*(inputs[name] for name in ENCODER_INPUTS), training=training)
    weights_BS1 = tf.cast(inputs["input_mask"], tf.float32)[:, :, None]
    mean_BD = tf.reduce_sum(outputs["sequence_output"] * weights_BS1, 1) / tf.reduce_sum(weights_BS1, 1)
    return tf.concat([outputs["pooled_output"], mean_BD], -1)


def all_features(network: AlbertPretrainer, inputs: Arrays, name: str = "model") -> np.ndarray:
    """Of every example: float32 [N, 2D]. Examples of about the same length are computed at once."""
    compute = tf.function(lambda batch: _features(network, batch, False), input_signature=[_specs(inputs)])
    order = np.argsort(inputs["input_mask"].sum(1), kind="stable")
    found = np.zeros((len(order), 2 * network.config.hidden_size), np.float32)
    said = time.monotonic()
    for start in range(0, len(order), _BATCH):
        rows = order[start : start + _BATCH]
        found[rows] = compute(_batch(inputs, rows)).numpy()
        if time.monotonic() - said > _SECONDS_BETWEEN_LINES:
            said = time.monotonic()
            _log.info("probe of the %s: features of %d of %d examples", name, start + len(rows), len(order))
    return found


def _batch(inputs: Arrays, rows: np.ndarray) -> dict[str, tf.Tensor]:
    """Some rows, as wide as the longest of them."""
    if "input_mask" not in inputs:
        return {key: tf.constant(array[rows]) for key, array in inputs.items()}
    width = int(inputs["input_mask"][rows].sum(1).max())
    return {key: tf.constant(array[rows, :width]) for key, array in inputs.items()}


def _specs(inputs: Arrays) -> dict[str, tf.TensorSpec]:
    """Of batches: without them a graph is made for each width."""
    widths = {key: None if "input_mask" in inputs else array.shape[1] for key, array in inputs.items()}
    return {key: tf.TensorSpec([None, widths[key]], array.dtype) for key, array in inputs.items()}


# === Training ===


@dataclass(frozen=True)
class _Body:
    """What a head stands on.

    Attributes:
      forward: batch → features [B, F].
      variables: that are trained with the head.
      train, test: what batches are taken from.
      free: to be called at the end.
    """

    forward: Forward
    variables: list[keras.Variable]
    train: Arrays
    test: Arrays
    free: Callable[[], None]


def _frozen(model: Model, train: Arrays, test: Arrays, name: str) -> Callable[[], _Body]:
    """Features are computed once, and scaled as those to train with are."""
    network = model.network()
    features = [all_features(network, part, name) for part in (train, test)]
    saved_model.release(network)
    mean, deviation = features[0].mean(0), features[0].std(0)
    scaled = [{"features": (part - mean) / np.maximum(deviation, _SMALLEST_DEVIATION)} for part in features]
    body = _Body(lambda batch, training: batch["features"], [], scaled[0], scaled[1], lambda: None)
    return lambda: body


def _unfrozen(model: Model, train: Arrays, test: Arrays) -> Callable[[], _Body]:
    """A copy of the network for each seed."""

    def make() -> _Body:
        network = model.network()
        variables = network.encoder.trainable_variables
        return _Body(partial(_features, network), variables, train, test, partial(saved_model.release, network))

    return make


def _one_seed(
    make: Callable[[], _Body], labels: Sequence[np.ndarray], classes: int, settings: ProbeSettings, seed: int
) -> float:
    """Trains and tests a classifier; gives its accuracy. The seed decides how its head starts, and the order."""
    body = make()
    head = keras.layers.Dense(classes, kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02, seed=seed))
    head(body.forward(_batch(body.test, np.arange(1)), False))  # makes its variables
    _train(body, head, labels[0], settings, seed)
    accuracy = _accuracy(body, head, labels[1])
    body.free()
    return accuracy


def _train(body: _Body, head: keras.layers.Dense, labels: np.ndarray, settings: ProbeSettings, seed: int) -> None:
    """Adam, with a rate that rises for a tenth of the steps and falls to zero."""
    steps_of_an_epoch = -(-len(labels) // settings.batch_size)
    variables = [*body.variables, *head.trainable_variables]
    optimizer = _optimizer(settings, settings.stated_epochs * steps_of_an_epoch)
    optimizer.build(variables)

    @tf.function(input_signature=[_specs(body.train), tf.TensorSpec([None], tf.int32)])
    def step(batch: dict[str, tf.Tensor], wanted: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            logits = head(body.forward(batch, True))
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(wanted, logits))
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        # Those of embeddings are given by rows.
        optimizer.apply([tf.convert_to_tensor(gradient) for gradient in gradients], variables)

    for epoch in range(settings.stated_epochs):
        order = np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(len(labels))
        for place in range(0, len(order), settings.batch_size):
            rows = order[place : place + settings.batch_size]
            step(_batch(body.train, rows), tf.constant(labels[rows]))


def _optimizer(settings: ProbeSettings, steps: int) -> keras.optimizers.Optimizer:
    warm_up = max(1, int(_WARM_UP * steps))
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warm_up), warmup_target=settings.stated_learning_rate, warmup_steps=warm_up
    )
    return keras.optimizers.Adam(rate, global_clipnorm=_CLIP_NORM)


def _accuracy(body: _Body, head: keras.layers.Dense, labels: np.ndarray) -> float:
    logits = tf.function(lambda batch: head(body.forward(batch, False)), input_signature=[_specs(body.test)])
    hits = 0
    for start in range(0, len(labels), _BATCH):
        rows = np.arange(start, min(start + _BATCH, len(labels)))
        hits += int((logits(_batch(body.test, rows)).numpy().argmax(-1) == labels[rows]).sum())
    return hits / len(labels)
