"""The training loop."""

from __future__ import annotations

import contextlib
import datetime
import logging
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from albert_model.config import AlbertConfig
from albert_model.errors import InputError
from albert_model.network.pretrainer import ENCODER_INPUTS, MLM_POSITIONS, AlbertPretrainer, score_examples
from albert_model.training.checkpoints import Checkpoints
from albert_model.training.guards import DivergedError, HeldOutGuard, LossGuard
from albert_model.training.input_pipeline import (
    Bin,
    Parse,
    ParseToTrain,
    batches_of,
    evaluation_batches,
    training_batches,
)
from albert_model.training.metrics import LOSS_GUARD, MetricsWriter, summarize
from albert_model.training.optimizers import RULES, Optimizer
from albert_model.training.schedules import warmup_then_decay
from albert_model.training.settings import TrainingSettings
from albert_model.training.speed import flops_per_token, gpu_name, peak_flops
from albert_model.training.strategies import Share, compiles_with_xla, is_chief, keras_dtype, make_strategy
from albert_model.weights import network as network_weights
from albert_model.weights.names import Role, Weights

_log = logging.getLogger("albert.training")
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True)
class TrainingData:
    """Where examples come from.

    Attributes:
      train_bins: TFRecord shards to train on.
      eval_files: TFRecord shards that are held out. There may be none; nothing is said of them then.
      parse_train, parse_eval: see `input_pipeline.Parse`.
    """

    train_bins: Sequence[Bin]
    eval_files: Sequence[str]
    parse_train: ParseToTrain
    parse_eval: Parse


@dataclass(frozen=True)
class TrainingFolders:
    """Where a training writes: on a disk, or at paths that `tf.io.gfile` knows.

    Attributes:
      checkpoints: kept across restarts of the same training.
      metrics: event files and metrics.jsonl.
    """

    checkpoints: str | Path
    metrics: str | Path


def train(
    config: AlbertConfig,
    settings: TrainingSettings,
    data: TrainingData,
    initial_weights: Weights | None,
    folders: TrainingFolders,
    strategy: tf.distribute.Strategy | None = None,
    fresh_heads: Sequence[Role] = (),
) -> tuple[Weights, dict[str, float]]:
    """Trains to the last step, from the newest checkpoint of this training if there is one.

    SIGTERM and SIGINT are answered between two steps: a checkpoint is written, and the signal goes on to who handled it
    before.

    Args:
      config: sizes.
      settings: recipe.
      data: examples.
      initial_weights: to start from; none: random ones.
      folders: where checkpoints and metrics go.
      strategy: where it had to be made before anything else; see `make_strategy`.
      fresh_heads: parts of the initial weights that nothing has trained yet; they are warmed up first.

    Returns:
      The weights, and the figures of the last interval: those of `metrics.summarize`, `tokens_per_second`, and the
      `steps` that were taken. If the checkpoint was of the last step, there is no interval: figures on held-out
      text, if there is any, and 0 tokens.

    Raises:
      InputError: there are fewer examples than a batch needs, a batch cannot be shared evenly, the training diverged,
        or another machine was lost.
    """
    total_steps = _total_steps(settings, data.train_bins)
    if settings.early_stop_after and not data.eval_files:
        raise InputError("training.early_stop_after needs held-out examples. Give some, or leave it out.")
    strategy = strategy or make_strategy(settings)
    _check_division(settings, strategy)
    training = _Training(config, settings, total_steps, strategy, initial_weights, folders, fresh_heads)
    try:
        figures = training.run(data)
        training.checkpoints.wait()
    except tf.errors.DataLossError as error:
        raise InputError(
            f"training: a file of examples is damaged ({str(error).splitlines()[0]}). Make the examples again; "
            "training goes on from the last checkpoint."
        ) from error
    except (tf.errors.UnavailableError, tf.errors.AbortedError) as error:
        raise InputError(
            f"training: a machine of the cluster was lost ({str(error).splitlines()[0]}). Start all of them again: "
            "training goes on from the last checkpoint."
        ) from error
    finally:
        training.checkpoints.close()
    return network_weights.read(training.network), figures | {"steps": training.steps_taken}


def _total_steps(settings: TrainingSettings, bins: Sequence[Bin]) -> int:
    batches = batches_of(bins, settings.batch_size)
    if batches == 0:
        records = sum(one.records for one in bins)
        each = " of any length bin" if len(bins) > 1 else ""
        raise InputError(
            f"training.batch_size: {settings.batch_size} is more than the {records} training examples{each}. "
            "Lower it, raise examples.dupe_factor, or add text."
        )
    return settings.total_steps(batches * settings.batch_size)


def _check_division(settings: TrainingSettings, strategy: tf.distribute.Strategy) -> None:
    replicas = strategy.num_replicas_in_sync
    if settings.batch_size % (replicas * settings.accumulation):
        raise InputError(
            f"training.batch_size: {settings.batch_size} cannot be divided by {replicas} devices times "
            f"training.accumulation {settings.accumulation}."
        )


class _Training:
    """The live state of a training: network, optimizer, step, guards, and the compiled step functions."""

    def __init__(
        self,
        config: AlbertConfig,
        settings: TrainingSettings,
        total_steps: int,
        strategy: tf.distribute.Strategy,
        initial_weights: Weights | None,
        folders: TrainingFolders,
        fresh_heads: Sequence[Role],
    ):
        self.config, self.settings, self.total_steps, self.strategy = config, settings, total_steps, strategy
        self.head_steps = min(settings.head_warmup_steps, total_steps // 10) if fresh_heads else 0
        self.warmup_steps = settings.resolved_warmup_steps(total_steps - self.head_steps)
        self.dtype, self.xla, self.share = (
            keras_dtype(settings, config),
            compiles_with_xla(settings),
            Share.of(strategy),
        )
        with strategy.scope():
            self.network = AlbertPretrainer(
                config,
                seed=settings.seed,
                dtype=self.dtype,
                scan_layers=settings.scan_layers,
                rematerialize=settings.rematerialize,
            )
            if initial_weights is not None:
                network_weights.assign(self.network, initial_weights, "the model to start from")
            rows = network_weights.variables(self.network)
            self.variables = {row.name: variable.value for row, variable in rows}
            self.optimizer = Optimizer(
                RULES[settings.optimizer],
                list(self.variables),
                list(self.variables.values()),
                settings.weight_decay,
                settings.clip_norm,
                [bool(fresh_heads) and row.role not in fresh_heads for row, _ in rows],
            )
            self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
            self.loss_guard, self.held_out_guard = LossGuard(settings), HeldOutGuard(settings)
        self.checkpoints = Checkpoints(
            folders.checkpoints,
            self.variables,
            self.optimizer.slots,
            {"step": self.step} | self.loss_guard.state | self.held_out_guard.state,
            [variable.value for variable in self.network.non_trainable_variables],
            settings.keep_checkpoints,
            is_chief(strategy),
        )
        self.metrics = MetricsWriter(folders.metrics) if is_chief(strategy) else None
        self._differentiate = tf.function(self._gradients, jit_compile=self.xla)

    @property
    def steps_taken(self) -> int:
        return int(self.step.numpy())

    # === Steps ===

    @tf.function
    def train_step(self, batch) -> dict[str, tf.Tensor]:
        sums = self._total(self.strategy.run(self._replica_step, args=(batch,)))
        self.loss_guard.update(_loss(sums, sums["mlm_predictions"], sums["sop_predictions"]))
        self.step.assign_add(1)
        return sums

    @tf.function(reduce_retracing=True)
    def eval_step(self, batch) -> dict[str, tf.Tensor]:
        return self._total(self.strategy.run(self._scores, args=(batch,)))

    def _replica_step(self, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        counts = [tf.reduce_sum(tf.cast(batch[name], tf.float32)) for name in _COUNTED]
        counts = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, counts)
        gradients, sums = self._accumulate(batch, *counts, self._replica())
        rate = self._learning_rate(self.step)
        self.optimizer.apply(gradients, rate, self.step + 1, self.step < self.head_steps)
        return sums

    def _replica(self) -> tf.Tensor | None:
        if self.share.replicas == 1:
            return None
        return tf.convert_to_tensor(tf.distribute.get_replica_context().replica_id_in_sync_group)

    def _accumulate(self, batch: Mapping[str, tf.Tensor], *whole):
        """Gradients and sums of a replica's rows, in `accumulation` parts one after another; see `_gradients`."""
        parts = self.settings.accumulation
        if parts == 1:
            return self._differentiate(batch, *whole)
        stacked = {
            name: tf.reshape(value, [parts, value.shape[0] // parts, *value.shape[1:]]) for name, value in batch.items()
        }

        def add(part, gradients, sums):
            more, scores = self._differentiate({name: value[part] for name, value in stacked.items()}, *whole)
            added = {name: sums[name] + scores[name] for name in sums}
            return part + 1, [one + other for one, other in zip(gradients, more, strict=True)], added

        first = self._differentiate({name: value[0] for name, value in stacked.items()}, *whole)
        _, gradients, sums = tf.while_loop(lambda part, *_: part < parts, add, (tf.constant(1), *first))
        return gradients, sums

    def _gradients(self, batch: Mapping[str, tf.Tensor], predictions, orders, replica):
        """Divided by the counts of the whole batch, so that the gradients of its parts add up to the batch's."""
        with tf.GradientTape() as tape:
            sums = self._scores(batch, training=True, replica=replica)
            loss = _loss(sums, predictions, orders)
        gradients = tape.gradient(loss, list(self.variables.values()))
        return [tf.convert_to_tensor(gradient) for gradient in gradients], sums

    def _scores(self, batch: Mapping[str, tf.Tensor], training: bool = False, replica=None) -> dict[str, Any]:
        scores = score_examples(self.network(batch, training=training, replica=replica), batch)
        sums = {name: tf.reduce_sum(value) for name, value in scores.items()}
        sums["tokens"] = tf.reduce_sum(tf.cast(batch["input_mask"], tf.float32))
        return sums

    def _total(self, sums: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        return {
            name: self.strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None) for name, value in sums.items()
        }

    def _learning_rate(self, step: int | tf.Tensor) -> tf.Tensor:
        peak, after = self.settings.peak_learning_rate, step - self.head_steps
        rate = warmup_then_decay(after, peak, self.warmup_steps, self.total_steps - self.head_steps)
        if self.head_steps:
            rate = tf.where(after < 0, peak, rate)
        return rate * self.loss_guard.learning_rate_factor

    # === Loop ===

    def run(self, data: TrainingData) -> dict[str, float]:
        resumed = self.checkpoints.restore()
        self._check_same_step()
        self._say_start(resumed)
        if not resumed:
            if data.eval_files:
                self._evaluate(data)
            if self.settings.on_divergence == "rollback":
                self.checkpoints.save()
        figures: dict[str, float] = {}
        with _Signals() as signals:
            while not self._is_done():
                try:
                    figures = self._run(data, signals)
                except DivergedError as reason:
                    self._roll_back(reason)
        if self.held_out_guard.stops:
            best = self.checkpoints.restore_best()
            _log.info("held-out loss did not fall any more: ending early%s", ", with the best weights" if best else "")
        if not figures and data.eval_files:
            figures = self._evaluate(data)
        return {"tokens_per_second": 0.0} | figures

    def _check_same_step(self) -> None:
        """Machines that do not share the folder of checkpoints would go on from different steps."""
        steps = self.strategy.run(lambda: tf.cast(self.step, tf.float32))
        mean = float(self.strategy.reduce(tf.distribute.ReduceOp.MEAN, steps, axis=None))
        if mean != self.steps_taken:
            raise InputError(
                f"training: this machine has a checkpoint of step {self.steps_taken}, and others have not. All of them "
                "must reach the same folder of checkpoints: name one that they share."
            )

    def _is_done(self) -> bool:
        return self.steps_taken >= self.total_steps or self.held_out_guard.stops

    def _run(self, data: TrainingData, signals: _Signals) -> dict[str, float]:
        """Steps from the present one to the last, or until there is a reason to end."""
        settings, start = self.settings, self.steps_taken
        batches = iter(self._batches(data, start))
        figures: dict[str, float] = {}
        interval, progress, saved = _Interval(), _Progress(start, self.total_steps), time.monotonic()
        for step in range(start + 1, self.total_steps + 1):
            with interval.waiting():
                batch = next(batches)
            interval.add(self.train_step(self._divide(batch)))
            last = step == self.total_steps
            if step % settings.log_every == 0 or last or step == start + 1:
                self.loss_guard.check(step)
                figures = interval.close(self._peak_flops(batch))
                self._report(step, progress.eta(step), figures)
                interval = _Interval()
            looks = bool(data.eval_files) and (
                step % (settings.evaluate_every or settings.checkpoint_every) == 0 or last
            )
            late = settings.checkpoint_minutes and time.monotonic() - saved > 60 * settings.checkpoint_minutes
            if looks or last or late or signals.received or step % settings.checkpoint_every == 0:
                self.loss_guard.check(step)
                with interval.paused():
                    best = looks and self.held_out_guard.is_best(self._evaluate(data)["loss"])
                    self.checkpoints.save(best)
                saved = time.monotonic()
            if signals.received:
                self.checkpoints.wait()
                signals.pass_on(f"training: interrupted at step {step}, from which it goes on when started again")
            if self.held_out_guard.stops:
                break
        return figures

    def _roll_back(self, reason: DivergedError) -> None:
        rollbacks = self.loss_guard.rollbacks
        if self.settings.on_divergence == "rollback" and not self.checkpoints.restore():
            raise InputError(f"training: {reason}, and there is no checkpoint to go back to.")
        self.loss_guard.go_back(rollbacks, reason)
        _log.warning(
            "%s: going back to step %d, with %g of the learning rate",
            reason,
            self.steps_taken,
            float(self.loss_guard.learning_rate_factor),
        )

    def _say_start(self, resumed: bool) -> None:
        _log.info(
            "%s at step %d of %d, batch %d, %s, warm-up %d, %s, %s",
            "resuming" if resumed else "starting",
            self.steps_taken,
            self.total_steps,
            self.settings.batch_size,
            type(self.strategy).__name__,
            self.warmup_steps,
            "bfloat16" if "bfloat16" in self.dtype else "float32",
            "compiled with XLA" if self.xla else "without XLA",
        )
        if self.head_steps:
            _log.info("the first %d steps train the fresh head alone", self.head_steps)

    def _batches(self, data: TrainingData, start: int) -> tf.data.Dataset:
        settings = self.settings
        return training_batches(
            data.train_bins, data.parse_train, settings.batch_size, settings.epochs, settings.seed, start, self.share
        )

    def _divide(self, batch: Mapping[str, tf.Tensor]):
        """Gives each replica of this process its rows; see `Share`."""
        local, first = self.share.local, self.share.first
        if self.share.replicas == 1:
            return batch

        def rows_of(context: tf.distribute.ValueContext) -> dict[str, tf.Tensor]:
            return {name: value[context.replica_id_in_sync_group - first :: local] for name, value in batch.items()}

        return self.strategy.experimental_distribute_values_from_function(rows_of)

    def _evaluate(self, data: TrainingData) -> dict[str, float]:
        parts = self.settings.accumulation  # what is too large for training at once is so here too
        batches = evaluation_batches(data.eval_files, data.parse_eval, self.settings.batch_size // parts, self.share)
        interval = _Interval()
        for batch in batches.take(self.settings.max_eval_batches * parts):
            interval.add(self.eval_step(self._divide(batch)))
        figures = interval.close()
        self._write("eval", self.steps_taken, figures)
        _log.info("step %d, held out: %s", self.steps_taken, _line(figures))
        return figures

    def _report(self, step: int, eta: str, figures: dict[str, float]) -> None:
        learning_rate = float(self._learning_rate(step - 1))  # the one that this step was taken with
        self._write("train", step, figures | {"learning_rate": learning_rate})
        utilisation = f", MFU {figures['mfu']:.1%}" if "mfu" in figures else ""
        _log.info(
            "step %d of %d, %s, lr %.2e, %s tokens/s%s, input %.0f %%, ETA %s",
            step,
            self.total_steps,
            _line(figures),
            learning_rate,
            f"{figures['tokens_per_second']:,.0f}",
            utilisation,
            100 * figures["input_share"],
            eta,
        )

    def _write(self, split: str, step: int, figures: Mapping[str, float]) -> None:
        if self.metrics:
            self.metrics.write(split, step, figures)

    def _peak_flops(self, batch: Mapping[str, tf.Tensor]) -> _Utilisation | None:
        """What a token costs in batches of this shape, and what the devices could do."""
        peak = peak_flops(gpu_name())
        if peak is None:
            return None
        length, predictions = (batch[name].shape[1] for name in (ENCODER_INPUTS[0], MLM_POSITIONS))
        return _Utilisation(flops_per_token(self.config, length, predictions / length), peak * self.share.replicas)


def _loss(sums: Mapping[str, tf.Tensor], predictions: tf.Tensor, orders: tf.Tensor) -> tf.Tensor:
    """What is trained on: both losses, each a mean; of a part of a batch, its share in them."""
    return sums["mlm_loss"] / (predictions + LOSS_GUARD) + sums["sop_loss"] / tf.maximum(orders, 1.0)


# The counts that losses are divided by.
_COUNTED = ("masked_lm_weights", "sentence_order_weight")


@dataclass(frozen=True)
class _Utilisation:
    flops_per_token: float
    peak: float


class _Signals:
    """Remembers that the process was asked to end, so that it can be done between two steps."""

    def __enter__(self) -> _Signals:
        self.received = 0  # or the signal's number
        self._handlers: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._receive) for number in _SIGNALS}
        return self

    def _receive(self, number: int, _frame: Any) -> None:
        if self.received:
            self.pass_on("training: interrupted")  # asked for twice: at once
        self.received = number

    def pass_on(self, message: str) -> None:
        """Lets the signal do what it did before; ends the process where that was nothing."""
        _log.warning(message)
        self.__exit__()
        signal.raise_signal(self.received)
        raise SystemExit(128 + self.received)

    def __exit__(self, *_) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}


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
        self._waited = 0.0

    def add(self, sums: dict[str, tf.Tensor]) -> None:
        self._steps.append(sums)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leaves out the time of something else than steps."""
        before = time.monotonic()
        yield
        self._started += time.monotonic() - before

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts the time until the input has the next batch."""
        before = time.monotonic()
        yield
        self._waited += time.monotonic() - before

    def close(self, utilisation: _Utilisation | None = None) -> dict[str, float]:
        sums = {name: float(tf.add_n([step[name] for step in self._steps])) for name in self._steps[0]}
        seconds = max(time.monotonic() - self._started, 1e-9)
        speed = sums["tokens"] / seconds
        figures = summarize(sums) | {"tokens_per_second": speed, "input_share": self._waited / seconds}
        if utilisation:
            figures["mfu"] = speed * utilisation.flops_per_token / utilisation.peak
        return figures
