"""The moments that a cron line names, in a time zone."""

from __future__ import annotations

import datetime
import zoneinfo

import croniter

from albert_model.errors import InputError
from pipeline.cloud.cron import checked
from pipeline.schedule.settings import ScheduleSettings

_SECOND = datetime.timedelta(seconds=1)


class Times:
    """Moments in UTC, so that they can be compared and counted through changes of daylight saving.

    Where the hour is named, a time that a change leaves out comes when that change is over (02:30 becomes 03:00), and
    one that comes twice counts the first time. With `*` for the hour, every hour that passes counts.

    Args:
      settings: cron line and time zone.

    Raises:
      InputError: one of them is not known, or the line names a day that never comes.
    """

    def __init__(self, settings: ScheduleSettings):
        settings = checked(settings)
        self._cron = settings.cron
        self._every_hour = settings.cron.split()[1] == "*"
        self.zone = zoneinfo.ZoneInfo(settings.timezone)

    def after(self, moment: datetime.datetime) -> datetime.datetime:
        """The first one that is later than a moment."""
        found = self._from(moment)
        while True:
            try:
                next_one = found.get_next(datetime.datetime).astimezone(datetime.UTC)
            except croniter.CroniterBadDateError:
                raise InputError(f"schedule.cron: {self._cron!r} names a day that never comes.") from None
            if self._counts(next_one):
                return next_one

    def latest(self, after: datetime.datetime, until: datetime.datetime) -> datetime.datetime | None:
        """The last one that is later than `after` and not later than `until`; None if there is none."""
        found = self._from(until.replace(microsecond=0) + _SECOND)
        while True:
            try:
                previous = found.get_prev(datetime.datetime).astimezone(datetime.UTC)
            except croniter.CroniterBadDateError:
                return None
            if previous <= after:
                return None
            if self._counts(previous):
                return previous

    def _from(self, moment: datetime.datetime) -> croniter.croniter:
        return croniter.croniter(self._cron, moment.astimezone(self.zone))

    def _counts(self, moment: datetime.datetime) -> bool:
        return self._every_hour or not moment.astimezone(self.zone).fold
