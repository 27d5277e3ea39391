"""Checkpoints of a training: weights, optimizer, step, and the state of dropout."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

from albert_model.errors import InputError
from albert_model.training.lamb import Lamb

_log = logging.getLogger("albert.training")
_KEEP = 2


class Checkpoints:
    """Saves and restores one training. The position in the data follows from the step.

    Args:
      folder: made if need be.
      weights: canonical name to variable.
      optimizer: its slots are saved under the same names.
      step: steps taken.
      dropout_state: the random state of dropout layers.
    """

    def __init__(
        self,
        folder: str | Path,
        weights: Mapping[str, tf.Variable],
        optimizer: Lamb,
        step: tf.Variable,
        dropout_state: list[tf.Variable],
    ):
        slots = dict(zip(weights, optimizer.slots, strict=True))
        self._checkpoint = tf.train.Checkpoint(
            weights=dict(weights),
            m={name: slot.m for name, slot in slots.items()},
            v={name: slot.v for name, slot in slots.items()},
            step=step,
            dropout_state=dropout_state,
        )
        self._step = step
        self._manager = tf.train.CheckpointManager(self._checkpoint, str(folder), max_to_keep=_KEEP)

    def restore(self) -> bool:
        """Restores the newest checkpoint that can be read; says whether there was one.

        Raises:
          InputError: there are checkpoints, and none can be read.
        """
        for path in reversed(self._manager.checkpoints):
            try:
                self._checkpoint.restore(path).assert_consumed()
            except (tf.errors.OpError, AssertionError, ValueError, IndexError) as error:
                _log.warning("checkpoint %s cannot be read, trying the one before: %s", path, error)
            else:
                return True
        if self._manager.checkpoints:
            raise InputError(f"{self._manager.directory}: no checkpoint can be read. Remove the folder to train anew.")
        return False

    def save(self) -> None:
        self._manager.save(checkpoint_number=int(self._step.numpy()))
