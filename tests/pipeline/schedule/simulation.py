"""Weeks of a scheduler's life in milliseconds: time is a number here, and runs take as long as they are told."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable, Iterable

from pipeline.schedule.server import Server
from pipeline.schedule.settings import ScheduleSettings
from pipeline.schedule.store import Outcome, Schedule, Store
from pipeline.settings import PipelineSettings

BEGIN = datetime.datetime(2026, 3, 2, 12, 0, tzinfo=datetime.UTC)  # a Monday
MINUTE, HOUR, DAY = (datetime.timedelta(minutes=minutes) for minutes in (1, 60, 24 * 60))


class Killed(BaseException):
    """The scheduler is gone, as after kill -9: nothing of it runs any more."""


class FakeClock:
    """Time passes when somebody sleeps. At `until` the process is asked to stop; what `jumps` says happens on the way.

    Args:
      now: the time at the beginning.
    """

    def __init__(self, now: datetime.datetime = BEGIN):
        self.time, self.until, self.stops = now, now, 0
        self.jumps: list[tuple[datetime.datetime, datetime.timedelta]] = []
        self.before_sleep: Callable[[], None] = lambda: None

    def now(self) -> datetime.datetime:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.before_sleep()
        assert seconds > 0 or self.time >= self.until, "waiting for nothing: an endless loop"
        woken = min(self.time + datetime.timedelta(seconds=seconds), max(self.until, self.time))
        if self.jumps and woken >= self.jumps[0][0]:
            woken += self.jumps.pop(0)[1]
        self.time = woken
        if self.time >= self.until:
            self.stops += 1


class FakeRuns:
    """Runs that take time, and that cannot overlap.

    Args:
      clock: passes.
      lengths: of the runs, in order; later ones take five minutes.
      result: of a run, by its number from 0.

    Attributes:
      done: of each run that came to its end: when it was due, and when it began.
      kill_after: a run that lasts longer is killed then, with the process that made it.
    """

    def __init__(
        self,
        clock: FakeClock,
        lengths: Iterable[datetime.timedelta] = (),
        result: Callable[[int], Outcome] = lambda _: Outcome(result="pushed"),
    ):
        self._clock, self._lengths, self._result = clock, iter(lengths), result
        self.patience: list[float] = []
        self.done: list[tuple[datetime.datetime, datetime.datetime]] = []
        self.kill_after: datetime.timedelta | None = None

    def run(self, schedule: Schedule, patience: float) -> Outcome:
        assert schedule.working
        self.patience.append(patience)
        length = next(self._lengths, 5 * MINUTE)
        if self.kill_after is not None and self.kill_after < length:
            self._clock.time += self.kill_after
            raise Killed
        self._clock.time += length
        self.done.append((schedule.working.due, schedule.working.started))
        return self._result(len(self.patience) - 1)


class Life:
    """A schedule, and the processes that serve it one after the other.

    Args:
      folder: for the root.
      settings: of a pipeline.
      cron, timezone, missed: of the schedule.
      begin: when the schedule was made.
    """

    def __init__(
        self,
        folder,
        settings: PipelineSettings,
        cron: str,
        timezone: str = "UTC",
        missed: str = "once",
        begin: datetime.datetime = BEGIN,
    ):
        self.store = Store(str(folder))
        self.clock, self.said, self.told = FakeClock(begin), [], []
        self.runs = FakeRuns(self.clock)
        when = ScheduleSettings(cron=cron, timezone=timezone, missed=missed)
        made = Schedule(name="demo", schedule=when, settings=settings, handled=begin)
        self.store.change(lambda _: made)

    def _server(self) -> Server:
        tell = self.said.append, lambda _, text: self.told.append(text)
        return Server(self.store, self.runs, self.clock, *tell, poll_seconds=6 * 3600)

    def serve(self, length: datetime.timedelta) -> None:
        """A process that serves for so long, or until it is killed."""
        self.clock.stops, self.clock.until = 0, self.clock.time + length
        with contextlib.suppress(Killed):
            self._server().serve()

    def serve_once(self) -> Outcome | None:
        return self._server().serve_once()

    def down(self, length: datetime.timedelta) -> None:
        """Nobody serves for so long. A negative one: the clock goes back."""
        self.clock.time += length

    @property
    def schedule(self) -> Schedule:
        found = self.store.read()
        assert found
        return found

    @property
    def done(self) -> list[tuple[str, str, str]]:
        """Of each entry of the history: when it was due, when it began, in UTC, and what it came to."""
        return [(f"{run.due:%d %H:%M}", f"{run.started:%d %H:%M}", run.outcome.result) for run in self.schedule.runs]
