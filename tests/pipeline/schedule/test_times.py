"""When cron lines come due, through changes of daylight saving."""

import datetime
import itertools
import zoneinfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from albert_model.errors import InputError
from pipeline.schedule.settings import ScheduleSettings
from pipeline.schedule.times import Times

UTC = datetime.UTC


def times(cron, timezone="UTC"):
    return Times(ScheduleSettings(cron=cron, timezone=timezone))


def utc(text):
    return datetime.datetime.fromisoformat(text).replace(tzinfo=UTC)


def next_ones(cron, timezone, after, count):
    """In UTC."""
    found, moment = [], utc(after)
    for _ in range(count):
        moment = times(cron, timezone).after(moment)
        found.append(f"{moment:%m-%d %H:%M}")
    return found


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        ("0 3 * * 1", "2026-03-02T03:00", ["03-09 03:00", "03-16 03:00"]),
        ("0 3 * * mon", "2026-03-02T02:59:59", ["03-02 03:00", "03-09 03:00"]),
        ("*/20 9-10 * * 1-5", "2026-03-06T10:20", ["03-06 10:40", "03-09 09:00", "03-09 09:20"]),
        ("0 0 29 2 *", "2026-01-01T00:00", ["02-29 00:00"]),
        ("0 0 13 * 5", "2026-03-01T00:00", ["03-06 00:00", "03-13 00:00"]),  # the day or the weekday, as cron has it
    ],
)
def test_cron_lines(cron, after, expected):
    assert next_ones(cron, "UTC", after, len(expected)) == expected


@pytest.mark.parametrize(
    ("cron", "timezone", "after", "expected"),
    [
        # 02:30 does not exist on March 29: at 03:00 summer time, once.
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00", ["03-28 01:30", "03-29 01:00", "03-30 00:30"]),
        # 02:30 comes twice on October 25: the first time only.
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T00:00", ["10-24 00:30", "10-25 00:30", "10-26 01:30"]),
        # After the first one, the second one is not the next.
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T00:45", ["10-26 01:30"]),
        # Hours that pass, not hours that are named.
        ("0 * * * *", "Europe/Berlin", "2026-10-24T23:30", ["10-25 00:00", "10-25 01:00", "10-25 02:00"]),
        ("0 * * * *", "Europe/Berlin", "2026-03-29T00:00", ["03-29 01:00", "03-29 02:00"]),
        # Half an hour of daylight saving.
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-02T18:00", ["10-03 15:30", "10-04 15:15"]),
    ],
)
def test_changes_of_daylight_saving(cron, timezone, after, expected):
    assert next_ones(cron, timezone, after, len(expected)) == expected


ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Sao_Paulo"]
CRONS = ["30 2 * * *", "0 */6 * * *", "*/30 * * * *", "15 0 * * 1", "0 3 1 * *", "0 3 29 2 *"]


@settings(max_examples=150)
@given(
    cron=st.sampled_from(CRONS),
    zone=st.sampled_from(ZONES),
    start=st.datetimes(datetime.datetime(2017, 1, 1), datetime.datetime(2027, 1, 1), timezones=st.just(UTC)),
    later=st.timedeltas(datetime.timedelta(0), datetime.timedelta(days=40)),
)
def test_the_latest_one_is_the_last_of_those_that_follow(cron, zone, start, later):
    """Backwards and forwards are told by different code, and must agree."""
    line, end = times(cron, zone), start + later
    latest = line.latest(start, end)
    assert line.after(latest or start) > end
    if latest:
        assert start < latest <= end
        assert line.after(latest - datetime.timedelta(seconds=1)) == latest


@settings(max_examples=100)
@given(
    zone=st.sampled_from(ZONES),
    start=st.datetimes(datetime.datetime(2017, 1, 1), datetime.datetime(2027, 1, 1), timezones=st.just(UTC)),
)
def test_a_daily_time_comes_once_a_day(zone, start):
    days, moment = [], start
    for _ in range(5):
        moment = times("30 2 * * *", zone).after(moment)
        days.append(moment.astimezone(zoneinfo.ZoneInfo(zone)).date())
    assert [(b - a).days for a, b in itertools.pairwise(days)] == [1] * 4


@pytest.mark.parametrize(
    ("cron", "timezone", "words"),
    [
        ("60 3 * * *", "UTC", "schedule.cron: '60 3 * * *'"),
        ("0 3 * *", "UTC", "is no cron line"),
        ("0 0 3 * * *", "UTC", "is no cron line"),
        ("@daily", "UTC", "is no cron line"),
        ("R 3 * * *", "UTC", "schedule.cron"),
        ("0 3 * * 1", "Europe/Berlni", "schedule.timezone: 'Europe/Berlni'"),
        ("0 3 * * 1", "../etc/passwd", "schedule.timezone"),
        ("0 3 * * 1", "Europe", "schedule.timezone"),
    ],
)
def test_what_is_no_time(cron, timezone, words):
    with pytest.raises(InputError, match=words.replace("*", r"\*")):
        times(cron, timezone)


def test_a_day_that_never_comes():
    with pytest.raises(InputError, match="names a day that never comes"):
        times("0 3 31 2 *").after(utc("2026-01-01"))
