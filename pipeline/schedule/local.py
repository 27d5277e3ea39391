"""Schedules on this machine, with the methods of `pipeline.cloud.clients.Client`."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable
from typing import Any

from albert_model.errors import InputError
from pipeline.cloud.clients import ScheduleState
from pipeline.cloud.cron import checked
from pipeline.schedule.plan import Start, Wait, plan
from pipeline.schedule.server import served_by
from pipeline.schedule.settings import ScheduleSettings
from pipeline.schedule.store import DamagedError, Ended, Schedule, Store, Working
from pipeline.schedule.times import Times
from pipeline.settings import PipelineSettings


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


@dataclasses.dataclass(frozen=True)
class LocalState(ScheduleState):
    """What is known of a schedule on this machine besides.

    Attributes:
      runs: the last ones, oldest first.
      working: the run at work, or one that was cut off and is to be done again.
      served_by: the process that waits for its times; None: nothing does.
      settings: that it runs.
    """

    runs: tuple[Ended, ...] = ()
    working: Working | None = None
    served_by: str | None = None
    settings: PipelineSettings | None = None


class LocalSchedules:
    """The schedule of a root. There is one at most, as there is one run at a time.

    Args:
      settings: of the pipeline; they say where its root is.
      now: tells the time.

    Raises:
      InputError: the root is not on this machine.
    """

    def __init__(self, settings: PipelineSettings, now: Callable[[], datetime.datetime] = _now):
        self._store, self._now = Store(settings.root), now

    def create_schedule(self, job: dict[str, Any], name: str, schedule: ScheduleSettings, replace: bool = False) -> str:
        """Makes the schedule. Its first run is at the first time from now on.

        Args:
          job: the settings to run with, as JSON has them.
          name: of the schedule.
          schedule: when.
          replace: take the place of the one there is, whatever its name. Its history stays.

        Returns:
          The file that holds it.

        Raises:
          InputError: the cron line or the zone is not known, or there is a schedule.
        """
        Times(schedule).after(self._now())  # a day that never comes
        made = Schedule(
            name=name,
            schedule=checked(schedule),
            settings=PipelineSettings.model_validate(job),
            handled=self._now(),
        )
        if replace:
            self._store.change(lambda there: _after(there, made), even_damaged=True)
        else:
            self._store.change(lambda there: _only(there, made))
        return self._store.path

    def schedules(self) -> list[LocalState]:
        """The one there is, if any."""
        found = self._store.read()
        if found is None:
            return []
        now = self._now()
        return [
            LocalState(
                name=found.name,
                cron=found.schedule.cron,
                timezone=found.schedule.timezone,
                paused=found.paused,
                next_run=_next_run(found, now),
                last_run=found.runs[-1].started if found.runs else None,
                runs=found.runs,
                working=found.working,
                served_by=served_by(self._store.root),
                settings=found.settings,
            )
        ]

    def pause(self, name: str) -> None:
        """Makes no runs from now on. The one at work goes on."""
        self._store.change(lambda there: self._named(name, there).model_copy(update={"paused": True}))

    def resume(self, name: str) -> None:
        """Makes runs again. The times that passed meanwhile are not made up for."""

        def resumed(there: Schedule | None) -> Schedule:
            found = self._named(name, there)
            handled = max(found.handled, self._now()) if found.paused else found.handled
            return found.model_copy(update={"paused": False, "handled": handled})

        self._store.change(resumed)

    def delete(self, name: str) -> None:
        """Also what is damaged, whose name nobody knows."""

        def nothing(there: Schedule | None) -> None:
            self._named(name, there)

        try:
            self._store.change(nothing)
        except DamagedError:
            self._store.change(lambda _: None, even_damaged=True)

    def _named(self, name: str, there: Schedule | None) -> Schedule:
        if there is None or there.name != name:
            has = f"; there is {there.name}" if there else ""
            raise InputError(f"--name {name}: no such schedule in {self._store.root}{has}.")
        return there


def _next_run(schedule: Schedule, now: datetime.datetime) -> datetime.datetime | None:
    step = plan(schedule, now)
    if isinstance(step, Wait):
        return step.until
    return now if isinstance(step, Start) else Times(schedule.schedule).after(now)


def _after(before: Schedule | None, made: Schedule) -> Schedule:
    """With the history of the one before, and its run that is at work."""
    return made.model_copy(update={"runs": before.runs, "working": before.working}) if before else made


def _only(there: Schedule | None, made: Schedule) -> Schedule:
    if there:
        raise InputError(
            f"--name {made.name}: the root has a schedule already: {there.name}, {there.schedule.cron} "
            f"({there.schedule.timezone}). --replace takes its place."
        )
    return made
