"""Checkpoints of a training: weights, optimizer, step, the state of dropout, and what the guards remember.

They are written by a thread of their own, from a copy, while training goes on. Files are complete before the list of
checkpoints names them, so one that a kill left unfinished is never looked at.
"""

from __future__ import annotations

import concurrent.futures
import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import tensorflow as tf

from albert_model.errors import InputError
from albert_model.training.optimizers import Slots

_log = logging.getLogger("albert.training")
_NAME = "ckpt"
_BEST = "best"


class Checkpoints:
    """Saves and restores one training. The position in the data follows from the step.

    Args:
      folder: made if need be; on a disk, or a path that `tf.io.gfile` knows.
      weights: canonical name to variable.
      slots: of the optimizer, in the order of the weights; saved under the same names.
      state: other variables, by name; `step` is one of them.
      dropout_state: the random state of dropout layers.
      keep: newest checkpoints that are kept; the best one is kept besides.
      writes: whether this process writes them, or only reads.
    """

    def __init__(
        self,
        folder: str | Path,
        weights: Mapping[str, tf.Variable],
        slots: Sequence[Slots],
        state: Mapping[str, tf.Variable],
        dropout_state: list[tf.Variable],
        keep: int,
        writes: bool = True,
    ):
        self._step, self._writes = state["step"], writes
        self._folder = str(folder) if "://" in str(folder) else os.path.abspath(folder)  # as errors name it

        def checkpoint_of(of: Callable[[tf.Variable], tf.Variable]) -> tf.train.Checkpoint:
            return tf.train.Checkpoint(
                weights={name: of(variable) for name, variable in weights.items()},
                m={name: of(slot.m) for name, slot in zip(weights, slots, strict=True)},
                v={name: of(slot.v) for name, slot in zip(weights, slots, strict=True)},
                dropout_state=[of(variable) for variable in dropout_state],
                **{name: of(variable) for name, variable in state.items()},
            )

        self._variables = [*weights.values(), *(v for slot in slots for v in slot), *dropout_state, *state.values()]
        with tf.device("CPU"), tf.init_scope():
            self._copies = [tf.Variable(tf.zeros(v.shape, v.dtype), trainable=False) for v in self._variables]
        copies = {id(variable): copy for variable, copy in zip(self._variables, self._copies, strict=True)}
        self._live = checkpoint_of(lambda variable: variable)
        copy = checkpoint_of(lambda variable: copies[id(variable)])
        self._manager = tf.train.CheckpointManager(copy, str(folder), max_to_keep=keep, checkpoint_name=_NAME)
        best = os.path.join(str(folder), _BEST)
        self._best = tf.train.CheckpointManager(copy, best, max_to_keep=1, checkpoint_name=_NAME)
        self._writer = concurrent.futures.ThreadPoolExecutor(1)
        self._writing: concurrent.futures.Future | None = None

    def restore(self) -> bool:
        """Restores the newest checkpoint that can be read; says whether there was one.

        Raises:
          InputError: there are checkpoints, and none can be read.
        """
        self.wait()
        for path in reversed(self._manager.checkpoints):
            if self._restore(path):
                return True
        if self._manager.checkpoints:
            raise InputError(f"{self._folder}: no checkpoint can be read. Remove the folder to train anew.")
        return False

    def restore_best(self) -> bool:
        """Restores the checkpoint with the lowest loss on held-out text, if there is one."""
        self.wait()
        newest = self._best.latest_checkpoint
        return newest is not None and self._restore(newest)

    def _restore(self, path: str) -> bool:
        try:
            self._live.restore(path).assert_consumed()
        except (tf.errors.OpError, AssertionError, ValueError, IndexError) as error:
            _log.warning("checkpoint %s cannot be read, trying the one before: %s", path, error)
            return False
        return True

    def save(self, best: bool = False) -> None:
        """Copies the state and writes it in the background; `best`: among the best as well."""
        self.wait()
        if not self._writes:
            return
        for copy, variable in zip(self._copies, self._variables, strict=True):
            copy.assign(variable)
        self._writing = self._writer.submit(self._write, int(self._step.numpy()), best)

    def _write(self, step: int, best: bool) -> None:
        self._manager.save(checkpoint_number=step)
        if best:
            self._best.save(checkpoint_number=step)

    def close(self) -> None:
        """Lets what is being written become complete, whatever it was that ended the training."""
        self._writer.shutdown()

    def wait(self) -> None:
        """Until what is being written is complete.

        Raises:
          InputError: it could not be written.
        """
        writing, self._writing = self._writing, None
        try:
            if writing:
                writing.result()
        except (tf.errors.OpError, OSError) as error:
            free = "" if "://" in self._folder else f" ({_free_megabytes(self._folder):,.0f} MB are free)"
            remedy = "Make room" if free else "See that there is room and that this machine may write there,"
            raise InputError(
                f"{self._folder}: a checkpoint could not be written{free}. {remedy} "
                f"and start again: training goes on from the last one. ({str(error).splitlines()[0]})"
            ) from error


def _free_megabytes(folder: str) -> float:
    existing = next(path for path in (Path(folder), *Path(folder).parents) if path.exists())
    return shutil.disk_usage(existing).free / 2**20
