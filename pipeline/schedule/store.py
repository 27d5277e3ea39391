"""The local schedule of a pipeline: one file in its root, which outlives the process that serves it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import filelock
import pydantic

from albert_model.config import describe
from albert_model.errors import InputError
from albert_model.publishing.stores import Disk
from albert_model.settings import Settings
from pipeline.schedule.settings import ScheduleSettings
from pipeline.settings import PipelineSettings

FILE_NAME = "schedule.json"
KEEP = 50
Result = Literal["pushed", "not pushed", "nothing new", "failed", "interrupted", "skipped"]
_LOCK_SECONDS = 60


class Outcome(Settings):
    """What a run came to.

    Attributes:
      result: in a word or two.
      words: the version that was pushed, why nothing was, or what went wrong.
    """

    result: Result
    words: str = ""


class Working(Settings):
    """A run that was begun, and whose end nobody saw yet."""

    due: pydantic.AwareDatetime
    started: pydantic.AwareDatetime


class Ended(Working):
    """A run that is over."""

    ended: pydantic.AwareDatetime
    outcome: Outcome


class Schedule(Settings):
    """A pipeline and when it runs.

    Attributes:
      settings: as they were when the schedule was made.
      handled: no time up to this one is run any more. It is never lowered.
      working: the run at work, or one that was cut off and is to be done again.
      runs: the last ones, oldest first.
    """

    format: Literal[1] = 1
    name: str
    schedule: ScheduleSettings
    settings: PipelineSettings
    paused: bool = False
    handled: pydantic.AwareDatetime
    working: Working | None = None
    runs: tuple[Ended, ...] = ()

    def with_run(self, run: Ended) -> Schedule:
        return self.model_copy(update={"runs": (*self.runs, run)[-KEEP:]})


class DamagedError(InputError):
    """The file cannot be read as a schedule."""


class Store:
    """The file of the schedule, written aside and renamed, so that a reader sees all of it or what was before.

    Args:
      root: of the pipeline.

    Raises:
      InputError: the root is not on this machine.
    """

    def __init__(self, root: str):
        if "://" in root:
            raise InputError(
                f"root: {root} is not on this machine, and the local scheduler works on local folders only. "
                "--target vertex and --target kfp schedule it elsewhere."
            )
        self.root = root
        self.path = os.path.join(root, FILE_NAME)

    def read(self) -> Schedule | None:
        """The schedule, if there is one.

        Raises:
          DamagedError: the file is damaged, or from another version of the program.
        """
        try:
            return Schedule.model_validate_json(Path(self.path).read_bytes())
        except FileNotFoundError:
            return None
        except pydantic.ValidationError as error:
            raise DamagedError(
                f"{self.path}: cannot be used: {describe(error)}. `albert pipeline schedule create --replace` makes it "
                "anew."
            ) from error

    def change(
        self, change: Callable[[Schedule | None], Schedule | None], even_damaged: bool = False
    ) -> Schedule | None:
        """Reads, changes and writes the schedule, with nobody in between.

        Args:
          change: is given the schedule, or None; gives the one to write, or None to remove it.
          even_damaged: take a damaged one for none.

        Raises:
          DamagedError: see `read`.
          OSError: it cannot be written; it stays as it was.
        """
        with self._alone():
            try:
                there = self.read()
            except DamagedError:
                if not even_damaged:
                    raise
                there = None
            changed = change(there)
            self._write(changed)
            return changed

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        os.makedirs(self.root, exist_ok=True)
        try:
            with filelock.FileLock(os.path.join(self.root, ".schedule-file.lock"), timeout=_LOCK_SECONDS):
                yield
        except filelock.Timeout as error:
            raise InputError(f"{self.path}: another process has been changing it for a minute. Try again.") from error

    def _write(self, schedule: Schedule | None) -> None:
        disk = Disk()
        if schedule is None:
            Path(self.path).unlink(missing_ok=True)
        else:
            aside = f"{self.path}.new"
            Path(aside).unlink(missing_ok=True)  # of a process that was killed
            try:
                disk.write(aside, [schedule.model_dump_json(indent=1).encode()])
                disk.rename(aside, self.path)
            except BaseException:
                Path(aside).unlink(missing_ok=True)
                raise
        disk.settle(self.root)
