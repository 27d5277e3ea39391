"""Cron lines as the services read them."""

from __future__ import annotations

import re
import zoneinfo

from albert_model.errors import InputError
from pipeline.schedule.settings import ScheduleSettings

_FIELDS = 5
_SUNDAY_7 = re.compile(r"(?<![\d/])7\b")
_PORTABLE = re.compile(r"[\dA-Za-z*,/-]+")


def checked(schedule: ScheduleSettings) -> ScheduleSettings:
    """The schedule, if every service reads it alike: five fields of numbers, names, lists, ranges and steps.

    Raises:
      InputError: names the key, what is wrong and how to write it.
    """
    import croniter

    cron, fields = schedule.cron, schedule.cron.split()
    if len(fields) != _FIELDS or not croniter.croniter.is_valid(cron):
        raise InputError(
            f"schedule.cron: {cron!r} is no cron line. Write minute, hour, day of the month, month and day of the "
            "week, such as '0 3 * * 1' for Mondays at three."
        )
    if not all(_PORTABLE.fullmatch(field) for field in fields) or re.search(r"\b[LRH]\b", cron, re.IGNORECASE):
        raise InputError(
            f"schedule.cron: {cron!r}: only numbers, names of days and months, and * , - / are known there."
        )
    if _SUNDAY_7.search(fields[-1]):
        raise InputError(f"schedule.cron: {cron!r}: write Sunday as 0, as not every service knows 7.")
    try:
        zoneinfo.ZoneInfo(schedule.timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise InputError(
            f"schedule.timezone: {schedule.timezone!r} is not known. Name one of the IANA database, such as "
            "Europe/Berlin, or UTC."
        ) from None
    return schedule.model_copy(update={"cron": " ".join(fields)})
