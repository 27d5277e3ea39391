"""The process that waits for a schedule's times and runs the pipeline then, one run at a time."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import zoneinfo
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import filelock

from albert_model.errors import InputError
from pipeline.schedule.clock import Clock
from pipeline.schedule.plan import Skip, Start, Wait, begun, ended, plan, seconds_left, skipped
from pipeline.schedule.store import Ended, Outcome, Schedule, Store
from pipeline.schedule.times import Times

_RETRY_SECONDS = 30.0
_LOCK = ".schedule.lock"
_WHO = ".schedule.pid"


class Runs(Protocol):
    """What runs a pipeline."""

    def run(self, schedule: Schedule, patience: float) -> Outcome:
        """Runs it to its end, and never raises for a run that failed.

        Args:
          schedule: whose pipeline runs.
          patience: seconds to wait for another run in the same root.

        Returns:
          What it came to; `interrupted` where this process was asked to stop.
        """


class AlreadyServedError(InputError):
    """Another process serves the schedule."""


class Server:
    """Serves the schedule of a root; see `serving` for its being the only one.

    Args:
      store: of the schedule.
      runs: runs the pipeline.
      clock: the time.
      say: tells people a line.
      notify: is told of a run that failed.
      poll_seconds: so soon is seen that the machine woke up, its clock changed, or the schedule did.
    """

    def __init__(
        self,
        store: Store,
        runs: Runs,
        clock: Clock,
        say: Callable[[str], None],
        notify: Callable[[Schedule, str], None],
        poll_seconds: float = 10.0,
    ):
        self._store, self._runs, self._clock, self._say, self._notify = store, runs, clock, say, notify
        self._poll_seconds = poll_seconds
        self._said = ""

    def serve(self) -> None:
        """Until the process is asked to stop, or the schedule is deleted.

        Raises:
          InputError: there is no schedule at the beginning, or its file is damaged.
        """
        self._there()
        while not self._clock.stops:
            schedule = self._store.read()
            if schedule is None:
                self._say("The schedule was deleted.")
                return
            step = self._do(schedule)
            if isinstance(step, Wait):
                self._say_next(schedule, step)
                self._wait(step)

    def serve_once(self) -> Outcome | None:
        """Runs what is due now; None if nothing is."""
        step: Start | Skip | Wait = Skip(self._clock.now())
        while isinstance(step, Skip):
            schedule = self._there()
            step = self._do(schedule)
        if isinstance(step, Start) and (schedule := self._there()).runs:
            return schedule.runs[-1].outcome
        return None

    def _there(self) -> Schedule:
        schedule = self._store.read()
        if schedule is None:
            raise InputError(f"{self._store.path}: there is no schedule. `albert pipeline schedule create` makes one.")
        return schedule

    def _do(self, schedule: Schedule) -> Start | Skip | Wait:
        now = self._clock.now()
        step = plan(schedule, now)
        if isinstance(step, Start):
            self._run(step.due)
        elif isinstance(step, Skip):
            self._change(lambda there: skipped(there, step.until, now))
            self._say(f"skipped what was due until {_shown(step.until, schedule)}")
        return step

    def _run(self, due: datetime.datetime) -> None:
        """A run, with its beginning and its end on the disk."""
        started = self._clock.now()
        schedule = self._change(lambda there: begun(there, due, started))
        if schedule is None:
            return
        self._said = ""
        self._say(f"{schedule.settings.name}: run due at {_shown(due, schedule)}")
        outcome = self._runs.run(schedule, seconds_left(schedule, started))
        run = Ended(due=due, started=started, ended=self._clock.now(), outcome=outcome)
        self._change(lambda there: ended(there, run))
        self._say(f"{schedule.settings.name}: {outcome.result}" + (f": {outcome.words}" if outcome.words else ""))
        if outcome.result == "failed":
            what = f"{schedule.settings.name}: the run due at {_shown(due, schedule)} failed: {outcome.words}"
            self._notify(schedule, what)

    def _change(self, change: Callable[[Schedule], Schedule]) -> Schedule | None:
        """Changes the schedule, if it still is there. A full disk is waited for: what is not written might be done
        twice."""
        complained = False
        while True:
            try:
                return self._store.change(lambda there: there and change(there))
            except OSError as error:
                if self._clock.stops:
                    raise
                if not complained:
                    self._say(f"{self._store.path} cannot be written ({error.strerror}). Trying again until it can.")
                complained = True
                self._clock.sleep(_RETRY_SECONDS)

    def _wait(self, step: Wait) -> None:
        left = (step.until - self._clock.now()).total_seconds() if step.until else self._poll_seconds
        self._clock.sleep(min(max(left, 0.0), self._poll_seconds))

    def _say_next(self, schedule: Schedule, step: Wait) -> None:
        line = f"{schedule.name}: paused"
        if step.until:
            line = f"{schedule.name}: next run at {_shown(step.until, schedule)}"
            if Times(schedule.schedule).after(self._clock.now()) < step.until:
                line += ", as all before it were run already: the clock went back"
        if line != self._said:
            self._said = line
            self._say(line)


def _shown(moment: datetime.datetime, schedule: Schedule) -> str:
    return shown(moment, schedule.schedule.timezone)


def shown(moment: datetime.datetime, timezone: str) -> str:
    """For people: in the schedule's zone."""
    return f"{moment.astimezone(zoneinfo.ZoneInfo(timezone)):%Y-%m-%d %H:%M %Z}"


@contextlib.contextmanager
def serving(root: str) -> Iterator[None]:
    """Makes this process the only one that serves the schedule of a root, until it ends, however it ends.

    Raises:
      AlreadyServedError: another one does; says which.
    """
    os.makedirs(root, exist_ok=True)
    who = Path(root, _WHO)
    try:
        with filelock.FileLock(os.path.join(root, _LOCK), timeout=1):
            since = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            who.write_text(json.dumps({"pid": os.getpid(), "since": since}), encoding="utf-8")
            try:
                yield
            finally:
                who.unlink(missing_ok=True)
    except filelock.Timeout as error:
        raise AlreadyServedError(
            f"root: {_who(who) or 'another process'} serves the schedule in {root} already. Stop it first, or leave "
            "it to it."
        ) from error


def served_by(root: str) -> str | None:
    """Which process serves the schedule; None if none does."""
    try:
        with filelock.FileLock(os.path.join(root, _LOCK), blocking=False):
            return None
    except filelock.Timeout:
        return _who(Path(root, _WHO)) or "another process"


def _who(path: Path) -> str | None:
    try:
        said = json.loads(path.read_bytes())
        return f"process {said['pid']} (since {said['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return None
