"""What a scheduler does at a moment: pure functions of the schedule and the time."""

from __future__ import annotations

import dataclasses
import datetime

from pipeline.schedule.store import Ended, Outcome, Schedule, Working
from pipeline.schedule.times import Times

# A process that wakes up this late still is on time where missed times are skipped: system cron and a machine that is
# busy are some seconds late.
GRACE = datetime.timedelta(minutes=2)


@dataclasses.dataclass(frozen=True)
class Start:
    """A run begins, for `due` and all times before it."""

    due: datetime.datetime


@dataclasses.dataclass(frozen=True)
class Skip:
    """The times up to `until` are not run."""

    until: datetime.datetime


@dataclasses.dataclass(frozen=True)
class Wait:
    """Nothing is due before `until`; None: not before something changes."""

    until: datetime.datetime | None


def plan(schedule: Schedule, now: datetime.datetime) -> Start | Skip | Wait:
    """What is to be done now.

    A time is due once it is later than all that were handled, so a clock that goes back makes nothing due again. A
    run that was cut off is made up for whatever `missed` says.
    """
    if schedule.paused:
        return Wait(None)
    times = Times(schedule.schedule)
    latest = times.latest(schedule.handled, now)
    cut_off = schedule.working.due if schedule.working and schedule.working.due <= now else None
    if latest is None and cut_off is None:
        return Wait(times.after(max(schedule.handled, now)))
    if latest and cut_off is None and schedule.schedule.missed == "skip" and now - latest > GRACE:
        return Skip(latest)
    return Start(max(due for due in (latest, cut_off) if due))


def seconds_left(schedule: Schedule, now: datetime.datetime) -> float:
    """Until the next time, for which another run need not wait."""
    return (Times(schedule.schedule).after(now) - now).total_seconds()


def begun(schedule: Schedule, due: datetime.datetime, now: datetime.datetime) -> Schedule:
    """The schedule with a run at work. Of one that was cut off, and that nobody saw end, the history tells then."""
    working = schedule.working
    if working and not any(run.started == working.started for run in schedule.runs):
        cut_off = Outcome(result="interrupted", words="the scheduler was killed")
        schedule = schedule.with_run(Ended(due=working.due, started=working.started, ended=now, outcome=cut_off))
    return schedule.model_copy(update={"working": Working(due=due, started=now)})


def ended(schedule: Schedule, run: Ended) -> Schedule:
    """The schedule after a run. One that was interrupted stays to be done; any other is not repeated."""
    schedule = schedule.with_run(run)
    if run.outcome.result == "interrupted":
        return schedule
    handled = max(schedule.handled, run.due)
    if schedule.schedule.missed == "skip":
        handled = Times(schedule.schedule).latest(handled, run.ended) or handled
    return schedule.model_copy(update={"handled": handled, "working": None})


def skipped(schedule: Schedule, until: datetime.datetime, now: datetime.datetime) -> Schedule:
    """The schedule without the times up to one."""
    run = Ended(due=until, started=now, ended=now, outcome=Outcome(result="skipped", words="its time had passed"))
    return schedule.with_run(run).model_copy(update={"handled": max(schedule.handled, until)})
