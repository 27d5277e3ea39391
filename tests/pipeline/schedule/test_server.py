"""A scheduler's weeks: missed times, long runs, kills, clocks that jump."""

import datetime
import itertools
import os
import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from albert_model.errors import InputError
from pipeline.schedule.local import LocalSchedules
from pipeline.schedule.store import KEEP, Outcome
from pipeline.schedule.times import Times
from tests.pipeline.schedule.simulation import BEGIN, DAY, HOUR, MINUTE, FakeRuns, Life


@pytest.fixture
def live(tmp_path, demo_settings):
    """Makes a schedule in a root of its own."""
    return lambda *said, **named: Life(tmp_path / "root", demo_settings, *said, **named)


def test_three_weeks(live):
    life = live("0 3 * * 1", "Europe/Berlin")
    life.serve(30 * DAY)
    # Summer time begins on March 29.
    assert life.done == [(day, day, "pushed") for day in ("09 02:00", "16 02:00", "23 02:00", "30 01:00")]
    assert life.said[:3] == [
        "demo: next run at 2026-03-09 03:00 CET",
        "demo: run due at 2026-03-09 03:00 CET",
        "demo: pushed",
    ]
    assert "demo: next run at 2026-03-30 03:00 CEST" in life.said


def test_another_run_is_waited_for_until_the_next_time(live):
    life = live("0 */6 * * *")
    life.serve(13 * HOUR)
    assert life.runs.patience == [6 * 3600, 6 * 3600]


@pytest.mark.parametrize(
    ("missed", "expected"),
    [
        ("once", [("03 03:00", "03 03:00"), ("06 03:00", "06 12:00"), ("07 03:00", "07 03:00")]),
        ("skip", [("03 03:00", "03 03:00"), ("07 03:00", "07 03:00")]),
    ],
)
def test_times_that_passed_while_nobody_served(live, missed, expected):
    life = live("0 3 * * *", missed=missed)
    life.serve(DAY)
    life.down(3 * DAY)
    life.serve(DAY)
    assert [run[:2] for run in life.done if run[2] == "pushed"] == expected
    if missed == "skip":
        assert ("06 03:00", "06 12:00", "skipped") in life.done


@pytest.mark.parametrize(
    ("missed", "expected"),
    [
        # 13:00 lasts until 15:30; 14:00 and 15:00 count once, at once.
        ("once", [("02 13:00", "02 13:00"), ("02 15:00", "02 15:30"), ("02 16:00", "02 16:00")]),
        ("skip", [("02 13:00", "02 13:00"), ("02 16:00", "02 16:00")]),
    ],
)
def test_a_run_that_outlasts_its_period(live, missed, expected):
    life = live("0 * * * *", missed=missed)
    life.runs = FakeRuns(life.clock, [150 * MINUTE])
    life.serve(4 * HOUR + 30 * MINUTE)
    assert [run[:2] for run in life.done] == expected


@pytest.mark.parametrize("missed", ["once", "skip"])
def test_a_run_that_was_killed_is_made_up_for(live, missed):
    life = live("0 3 * * *", missed=missed)
    life.runs.kill_after = MINUTE
    life.serve(DAY)
    assert life.done == []
    assert life.schedule.working
    life.runs.kill_after = None
    life.down(5 * HOUR)
    life.serve(HOUR)
    assert life.done == [("03 03:00", "03 03:00", "interrupted"), ("03 03:00", "03 08:01", "pushed")]
    assert life.schedule.working is None
    life.serve(HOUR)
    assert len(life.done) == 2


def test_a_run_that_was_stopped_is_made_up_for_and_told_of_once(live):
    life = live("0 3 * * *")

    def stopped(number):
        if number:
            return Outcome(result="nothing new")
        life.clock.stops += 1
        return Outcome(result="interrupted")

    life.runs = FakeRuns(life.clock, result=stopped)
    life.serve(7 * DAY)
    assert life.done == [("03 03:00", "03 03:00", "interrupted")]
    life.serve(HOUR)
    assert [run[2] for run in life.done] == ["interrupted", "nothing new"]


def test_a_failed_run_is_told_of_and_not_repeated(live):
    life = live("0 3 * * *")
    failed = Outcome(result="failed", words="corpus.path: gone")
    life.runs = FakeRuns(life.clock, result=lambda number: failed if number == 0 else Outcome(result="pushed"))
    life.serve(2 * DAY)
    assert life.done == [("03 03:00", "03 03:00", "failed"), ("04 03:00", "04 03:00", "pushed")]
    assert life.told == ["demo: the run due at 2026-03-03 03:00 UTC failed: corpus.path: gone"]
    assert "demo: failed: corpus.path: gone" in life.said


def test_a_clock_that_goes_back_makes_nothing_run_twice(live):
    life = live("0 * * * *")
    life.serve(2 * HOUR + MINUTE)
    life.down(-90 * MINUTE)
    life.serve(2 * HOUR)
    assert [run[0] for run in life.done] == ["02 13:00", "02 14:00"]
    assert "demo: next run at 2026-03-02 15:00 UTC, as all before it were run already: the clock went back" in life.said
    life.serve(HOUR)
    assert [run[0] for run in life.done] == ["02 13:00", "02 14:00", "02 15:00"]


def test_a_clock_that_goes_back_during_a_wait_and_forward_again(live):
    life = live("0 * * * *")
    life.clock.jumps = [(BEGIN + HOUR, -30 * MINUTE), (BEGIN + 110 * MINUTE, 3 * HOUR)]
    life.serve(10 * HOUR)
    dues = [run[0] for run in life.done]
    assert dues == sorted(set(dues))
    assert all(due <= began for due, began, _ in life.done)
    assert dues[0] == "02 13:00"


def test_a_schedule_that_is_paused_runs_nothing_and_makes_nothing_up(live):
    life = live("0 3 * * *")
    schedules = LocalSchedules(life.schedule.settings.model_copy(update={"root": life.store.root}), life.clock.now)
    schedules.pause("demo")
    life.serve(3 * DAY)
    assert life.done == []
    assert life.said == ["demo: paused"]
    schedules.resume("demo")
    life.serve(DAY)
    assert [run[0] for run in life.done] == ["06 03:00"]


def test_a_schedule_that_is_deleted_ends_its_process(live):
    life = live("0 3 * * *")

    def deleted(_):
        life.store.change(lambda _: None)
        return Outcome(result="pushed")

    life.runs = FakeRuns(life.clock, result=deleted)
    life.serve(9 * DAY)
    assert life.clock.time < BEGIN + DAY
    assert life.said[-1] == "The schedule was deleted."
    assert life.store.read() is None
    with pytest.raises(InputError, match="there is no schedule"):
        life.serve(DAY)


def test_once_runs_what_is_due_and_leaves(live):
    life = live("0 3 * * *")
    assert life.serve_once() is None
    life.down(DAY)
    assert life.serve_once() == Outcome(result="pushed")
    assert life.serve_once() is None
    assert [run[:2] for run in life.done] == [("03 03:00", "03 12:00")]


def test_once_skips_and_leaves(live):
    life = live("0 3 * * *", missed="skip")
    life.down(3 * DAY)
    assert life.serve_once() is None
    assert life.done == [("05 03:00", "05 12:00", "skipped")]
    life.down(15 * HOUR + MINUTE)  # system cron is a bit late
    assert life.serve_once() == Outcome(result="pushed")


def test_the_history_does_not_grow(live):
    life = live("*/30 * * * *")
    life.serve(26 * HOUR)
    assert len(life.runs.done) > KEEP == len(life.schedule.runs)
    assert [run.due for run in life.schedule.runs] == [due for due, _ in life.runs.done][-KEEP:]


def test_a_full_disk_is_waited_for(live, monkeypatch):
    """What is not written might be done twice."""
    life = live("0 3 * * *")
    full_until = BEGIN + 15 * HOUR + 10 * MINUTE
    write = life.store._write

    def full(schedule):
        if life.clock.time < full_until:
            raise OSError(28, "No space left on device", "schedule.json")
        write(schedule)

    monkeypatch.setattr(life.store, "_write", full)
    life.serve(16 * HOUR)
    assert life.done == [("03 03:00", "03 03:10", "pushed")] or life.done == [("03 03:00", "03 03:00", "pushed")]
    complaints = [line for line in life.said if "cannot be written (No space left on device)" in line]
    assert len(complaints) == 1


# === Whatever happens ===

IN_MEMORY = "/dev/shm"  # thousands of writes that wait for the disk take minutes
LENGTHS = st.integers(1, 6 * 24 * 60).map(lambda minutes: minutes * MINUTE)
EVENTS = st.one_of(
    st.tuples(st.just("serve"), LENGTHS),
    st.tuples(st.just("down"), LENGTHS),
    st.tuples(st.just("clock"), st.integers(-9 * 24 * 60, 9 * 24 * 60).map(lambda minutes: minutes * MINUTE)),
    st.tuples(st.just("killed in a run"), LENGTHS),
    st.tuples(st.just("once"), st.just(MINUTE)),
    st.tuples(st.just("jumps while it waits"), st.integers(-600, 600).map(lambda minutes: minutes * MINUTE)),
)


def happen(life, event, length):
    life.runs.kill_after = 3 * MINUTE if event == "killed in a run" else None
    if event in ("serve", "killed in a run"):
        life.serve(length)
    elif event in ("down", "clock"):
        life.down(length)
    elif event == "once":
        life.serve_once()
    else:
        life.clock.jumps = [(life.clock.time + HOUR, length)]
        life.serve(6 * HOUR)


def check_that_nothing_is_left(life):
    """Who waits has done all that is due: a run began at the latest time or after it, and came to its end."""
    due = life.times.latest(BEGIN, life.clock.time)
    covered = any(due <= other and due <= began for other, began in life.runs.done)
    assert due is None or covered, f"{due} is left"


@settings(max_examples=60)
@given(
    events=st.lists(EVENTS, max_size=12),
    lengths=st.lists(LENGTHS, max_size=12),
    cron=st.sampled_from(["0 3 * * *", "30 2 * * 1", "0 */4 * * *", "30 1,2 * * *"]),
    zone=st.sampled_from(["UTC", "Europe/Berlin"]),
    missed=st.sampled_from(["once", "skip"]),
)
def test_nothing_runs_twice_and_nothing_is_lost(demo_settings, events, lengths, cron, zone, missed):
    with tempfile.TemporaryDirectory(dir=IN_MEMORY if os.path.isdir(IN_MEMORY) else None) as folder:
        life = Life(folder, demo_settings, cron, zone, missed)
        life.times = Times(life.schedule.schedule)
        life.runs = FakeRuns(life.clock, lengths)
        if missed == "once":
            life.clock.before_sleep = lambda: check_that_nothing_is_left(life)
        for event, length in events:
            happen(life, event, length)
        # Then all is well for long enough.
        life.runs.kill_after = None
        life.runs._lengths = iter(())
        life.clock.jumps = []
        life.serve(DAY)

        dues = [due for due, _ in life.runs.done]
        assert all(one < other for one, other in itertools.pairwise(dues)), "a time ran twice"
        assert all(due <= began for due, began in life.runs.done), "a run before its time"


def test_the_state_of_a_moment_is_told(live):
    life = live("0 3 * * *", "Europe/Berlin")
    settings = life.schedule.settings.model_copy(update={"root": life.store.root})
    (state,) = LocalSchedules(settings, life.clock.now).schedules()
    assert (state.name, state.paused, state.last_run, state.served_by) == ("demo", False, None, None)
    assert state.next_run == datetime.datetime(2026, 3, 3, 2, tzinfo=datetime.UTC)
    life.serve(DAY)
    (state,) = LocalSchedules(settings, life.clock.now).schedules()
    assert state.last_run == datetime.datetime(2026, 3, 3, 2, tzinfo=datetime.UTC)
    assert state.runs[-1].outcome.result == "pushed"
