"""The training loop."""

from __future__ import annotations

import contextlib
import datetime
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from albert_model.config import AlbertConfig
from albert_model.errors import InputError
from albert_model.network.pretrainer import AlbertPretrainer, score_examples
from albert_model.training.checkpoints import Checkpoints
from albert_model.training.input_pipeline import Parse, ParseToTrain, evaluation_batches, training_batches
from albert_model.training.lamb import Lamb
from albert_model.training.metrics import MetricsWriter, summarize
from albert_model.training.schedules import warmup_then_decay
from albert_model.training.settings import TrainingSettings
from albert_model.training.strategies import make_strategy
from albert_model.weights import network as network_weights
from albert_model.weights.names import Weights

_log = logging.getLogger("albert.training")


@dataclass(frozen=True)
class TrainingData:
    """Where examples come from.

    Attributes:
      train_files, eval_files: TFRecord shards.
      train_records: records in `train_files`.
      parse_train, parse_eval: see `input_pipeline.Parse`.
    """

    train_files: Sequence[str]
    eval_files: Sequence[str]
    train_records: int
    parse_train: ParseToTrain
    parse_eval: Parse


@dataclass(frozen=True)
class TrainingFolders:
    """Where a training writes.

    Attributes:
      checkpoints: kept across restarts of the same training.
      metrics: event files and metrics.jsonl.
    """

    checkpoints: Path
    metrics: Path


def train(
    config: AlbertConfig,
    settings: TrainingSettings,
    data: TrainingData,
    initial_weights: Weights | None,
    folders: TrainingFolders,
) -> tuple[Weights, dict[str, float]]:
    """Trains to the last step, from the newest checkpoint of this training if there is one.

    Args:
      config: sizes.
      settings: recipe.
      data: examples.
      initial_weights: to start from; none: random ones.
      folders: where checkpoints and metrics go.

    Returns:
      The weights, and the figures of the last interval: those of `metrics.summarize`, and `tokens_per_second`. If
      the checkpoint was of the last step, there is no interval: figures on held-out text, and 0 tokens.

    Raises:
      InputError: there are fewer examples than a batch needs.
    """
    total_steps = settings.total_steps(data.train_records)
    if total_steps == 0:
        raise InputError(
            f"training.batch_size: {settings.batch_size} is more than the {data.train_records} training examples. "
            "Lower it, raise examples.dupe_factor, or add text."
        )
    training = _Training(config, settings, total_steps, make_strategy(settings), initial_weights, folders)
    figures = training.run(data)
    return network_weights.read(training.network), figures


class _Training:
    """The live state of a training: network, optimizer, step, and the compiled step functions."""

    def __init__(
        self,
        config: AlbertConfig,
        settings: TrainingSettings,
        total_steps: int,
        strategy: tf.distribute.Strategy,
        initial_weights: Weights | None,
        folders: TrainingFolders,
    ):
        self.settings, self.total_steps, self.strategy = settings, total_steps, strategy
        self.warmup_steps = settings.resolved_warmup_steps(total_steps)
        with strategy.scope():
            self.network = AlbertPretrainer(config, seed=settings.seed)
            if initial_weights is not None:
                network_weights.assign(self.network, initial_weights, "the model to start from")
            rows = network_weights.variables(self.network)
            self.variables = {row.name: variable.value for row, variable in rows}
            self.optimizer = Lamb(
                list(self.variables), list(self.variables.values()), settings.weight_decay, settings.clip_norm
            )
            self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        dropout_state = [variable.value for variable in self.network.non_trainable_variables]
        self.checkpoints = Checkpoints(folders.checkpoints, self.variables, self.optimizer, self.step, dropout_state)
        self.metrics = MetricsWriter(folders.metrics)

    # === Steps ===

    @tf.function(reduce_retracing=True)
    def train_step(self, batch) -> dict[str, tf.Tensor]:
        sums = self.strategy.run(self._replica_step, args=(batch,))
        self.step.assign_add(1)
        return self._total(sums)

    @tf.function(reduce_retracing=True)
    def eval_step(self, batch) -> dict[str, tf.Tensor]:
        return self._total(self.strategy.run(self._scores, args=(batch,)))

    def _replica_step(self, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        with tf.GradientTape() as tape:
            sums = self._scores(batch, training=True)
            counts = [sums["mlm_predictions"], sums["sop_predictions"]]
            predictions, orders = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, counts)
            # Divided by the counts of the whole batch, so that the replicas' gradients add up to the batch's.
            loss = sums["mlm_loss"] / (predictions + 1e-5) + sums["sop_loss"] / tf.maximum(orders, 1.0)
        gradients = tape.gradient(loss, list(self.variables.values()))
        self.optimizer.apply(gradients, self._learning_rate(self.step))
        return sums

    def _scores(self, batch: Mapping[str, tf.Tensor], training: bool = False) -> dict[str, Any]:
        scores = score_examples(self.network(batch, training=training), batch)
        sums = {name: tf.reduce_sum(value) for name, value in scores.items()}
        sums["tokens"] = tf.reduce_sum(tf.cast(batch["input_mask"], tf.float32))
        return sums

    def _total(self, sums: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        return {
            name: self.strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None) for name, value in sums.items()
        }

    def _learning_rate(self, step: int | tf.Tensor) -> tf.Tensor:
        return warmup_then_decay(step, self.settings.learning_rate, self.warmup_steps, self.total_steps)

    # === Loop ===

    def run(self, data: TrainingData) -> dict[str, float]:
        resumed = self.checkpoints.restore()
        start = int(self.step.numpy())
        _log.info(
            "%s at step %d of %d, batch %d, %s, warm-up %d",
            "resuming" if resumed else "starting",
            start,
            self.total_steps,
            self.settings.batch_size,
            type(self.strategy).__name__,
            self.warmup_steps,
        )
        batches = self._batches(data, start)
        if not resumed:
            self._evaluate(data)
        figures: dict[str, float] = {}
        interval = _Interval()
        progress = _Progress(start, self.total_steps)
        for step in range(start + 1, self.total_steps + 1):
            interval.add(self.train_step(next(batches)))
            if step % self.settings.log_every == 0 or step in (start + 1, self.total_steps):
                interval.check_finite(step)
                figures = interval.close()
                self._report(step, progress.eta(step), figures)
                interval = _Interval()
            if step % self.settings.checkpoint_every == 0 or step == self.total_steps:
                interval.check_finite(step)
                with interval.paused():
                    self.checkpoints.save()
                    self._evaluate(data)
        return figures or self._evaluate(data) | {"tokens_per_second": 0.0}

    def _batches(self, data: TrainingData, start: int):
        batches = training_batches(
            data.train_files,
            data.parse_train,
            self.settings.batch_size,
            self.settings.epochs,
            self.settings.seed,
            start,
        )
        return map(self._divide, batches)

    def _divide(self, batch: Mapping[str, tf.Tensor]):
        """Gives each replica its rows: replica r of n those with index r modulo n."""
        replicas = self.strategy.num_replicas_in_sync
        if replicas == 1:
            return batch

        def rows_of(context: tf.distribute.ValueContext) -> dict[str, tf.Tensor]:
            return {name: value[context.replica_id_in_sync_group :: replicas] for name, value in batch.items()}

        return self.strategy.experimental_distribute_values_from_function(rows_of)

    def _evaluate(self, data: TrainingData) -> dict[str, float]:
        batches = evaluation_batches(data.eval_files, data.parse_eval, self.settings.batch_size)
        interval = _Interval()
        for batch in batches.take(self.settings.max_eval_batches):
            interval.add(self.eval_step(self._divide(batch)))
        figures = interval.close()
        self.metrics.write("eval", int(self.step.numpy()), figures)
        _log.info("step %d, held out: %s", int(self.step.numpy()), _line(figures))
        return figures

    def _report(self, step: int, eta: str, figures: dict[str, float]) -> None:
        learning_rate = float(self._learning_rate(step - 1))  # the one that this step was taken with
        self.metrics.write("train", step, figures | {"learning_rate": learning_rate})
        _log.info(
            "step %d of %d, %s, lr %.2e, %s tokens/s, ETA %s",
            step,
            self.total_steps,
            _line(figures),
            learning_rate,
            f"{figures['tokens_per_second']:,.0f}",
            eta,
        )


def _line(figures: Mapping[str, float]) -> str:
    return (
        f"loss {figures['loss']:.3f} (mlm {figures['mlm_loss']:.3f}, sop {figures['sop_loss']:.3f}), "
        f"accuracy mlm {figures['mlm_accuracy']:.1%}, sop {figures['sop_accuracy']:.1%}"
    )


class _Progress:
    """Estimates the time that is left from the steps after the first, in which everything is compiled."""

    def __init__(self, start: int, total: int):
        self._first, self._total = start + 1, total
        self._started = time.monotonic()

    def eta(self, step: int) -> str:
        if step == self._first:
            self._started = time.monotonic()
            return "unknown yet"
        remaining = (time.monotonic() - self._started) / (step - self._first) * (self._total - step)
        return str(datetime.timedelta(seconds=round(remaining)))


class _Interval:
    """Sums over the steps between two reports."""

    def __init__(self) -> None:
        self._steps: list[dict[str, tf.Tensor]] = []
        self._started = time.monotonic()

    def add(self, sums: dict[str, tf.Tensor]) -> None:
        self._steps.append(sums)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leaves out the time of something else than steps."""
        before = time.monotonic()
        yield
        self._started += time.monotonic() - before

    def check_finite(self, step: int) -> None:
        """Makes sure that the losses are numbers; a model that they are not of learns nothing more.

        Raises:
          InputError: they are not.
        """
        losses = [s["mlm_loss"] + s["sop_loss"] for s in self._steps]
        if losses and not np.isfinite(tf.add_n(losses).numpy()):
            raise InputError(
                f"training: the loss is not a number any more at step {step}. Lower training.learning_rate, or raise "
                "training.warmup_steps or training.batch_size."
            )

    def close(self) -> dict[str, float]:
        sums = {name: float(tf.add_n([step[name] for step in self._steps])) for name in self._steps[0]}
        seconds = max(time.monotonic() - self._started, 1e-9)
        return summarize(sums) | {"tokens_per_second": sums["tokens"] / seconds}
