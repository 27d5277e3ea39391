"""What watches a training: whether its loss rises, and whether it still learns something."""

from __future__ import annotations

import math

import tensorflow as tf

from albert_model.errors import InputError
from albert_model.training.settings import TrainingSettings

_MEMORY = 0.98  # of the running mean of the loss: some fifty steps
_MAX_ROLLBACKS = 3
_UNKNOWN = math.inf


class DivergedError(Exception):
    """The loss is no number any more, or rose by more than it may."""


class LossGuard:
    """Follows the running mean of the loss and its lowest value. What it knows is in variables, which are saved."""

    def __init__(self, settings: TrainingSettings):
        self._settings = settings
        self._mean = tf.Variable(_UNKNOWN, name="mean_loss")
        self._lowest = tf.Variable(_UNKNOWN, name="lowest_loss")
        self._rollbacks = tf.Variable(0, dtype=tf.int64, name="rollbacks")

    @property
    def state(self) -> dict[str, tf.Variable]:
        return {"mean_loss": self._mean, "lowest_loss": self._lowest, "rollbacks": self._rollbacks}

    @property
    def learning_rate_factor(self) -> tf.Tensor:
        return 0.5 ** tf.cast(self._rollbacks, tf.float32)

    def update(self, loss: tf.Tensor) -> None:
        """Takes in the loss of a step."""
        mean = tf.where(self._mean == _UNKNOWN, loss, _MEMORY * self._mean + (1 - _MEMORY) * loss)
        self._mean.assign(mean)
        self._lowest.assign(tf.minimum(self._lowest, mean))

    def check(self, step: int) -> None:
        """Raises DivergedError with what is to be said."""
        mean, lowest = float(self._mean.numpy()), float(self._lowest.numpy())
        if not math.isfinite(mean):
            raise DivergedError(f"the loss is not a number any more at step {step}")
        if mean > lowest + self._settings.max_loss_rise:
            raise DivergedError(
                f"the loss rose from {lowest:.2f} to {mean:.2f} at step {step}, by more than training.max_loss_rise "
                f"{self._settings.max_loss_rise}"
            )

    def go_back(self, rollbacks: int, reason: DivergedError) -> None:
        """Notes that training goes on from a checkpoint after `rollbacks` earlier ones, with half the rate.

        Raises:
          InputError: it was not to, or did too often.
        """
        remedy = "Lower training.learning_rate, or raise training.warmup_steps or training.batch_size."
        if self._settings.on_divergence == "stop":
            raise InputError(f"training: {reason}. {remedy}") from reason
        if rollbacks == _MAX_ROLLBACKS:
            raise InputError(f"training: {reason}, after {rollbacks} returns to a checkpoint. {remedy}") from reason
        self._rollbacks.assign(rollbacks + 1)

    @property
    def rollbacks(self) -> int:
        return int(self._rollbacks.numpy())


class HeldOutGuard:
    """The lowest loss on held-out text, and how many looks ago it was."""

    def __init__(self, settings: TrainingSettings):
        self._patience = settings.early_stop_after
        self._best = tf.Variable(_UNKNOWN, name="best_held_out_loss")
        self._since = tf.Variable(0, dtype=tf.int64, name="looks_since_best")

    @property
    def state(self) -> dict[str, tf.Variable]:
        return {"best_held_out_loss": self._best, "looks_since_best": self._since}

    def is_best(self, loss: float) -> bool:
        """Takes in the loss of a look; says whether it is the lowest so far."""
        best = loss < float(self._best.numpy())
        self._since.assign(0 if best else self._since + 1)
        if best:
            self._best.assign(loss)
        return best

    @property
    def stops(self) -> bool:
        return self._patience is not None and int(self._since.numpy()) >= self._patience
