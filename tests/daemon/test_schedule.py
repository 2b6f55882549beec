from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeperd.daemon.schedule import ClockReading, Progress, Timetable, due, restored

if TYPE_CHECKING:
    from collections.abc import Callable

HOUR = 3600.0
NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
SIX_HOURLY = Timetable(interval=6 * HOUR, catch_up=60)


def moment(elapsed: float, wall: datetime | None = None) -> ClockReading:
    return ClockReading(wall or NOON + timedelta(seconds=elapsed), elapsed)


@dataclass(frozen=True)
class Nightly:
    """A stand-in for the configured window: one span a night, in a zone."""

    start: time
    end: time
    zone: str = "UTC"

    def contains(self, at: datetime) -> bool:
        local = at.astimezone(ZoneInfo(self.zone)).time()
        if self.start < self.end:
            return self.start <= local < self.end
        return local >= self.start or local < self.end

    def next_open(self, at: datetime) -> datetime:
        minute = timedelta(minutes=1)
        at = at.replace(second=0, microsecond=0) + minute
        while not self.contains(at):
            at += minute
        return at

    def closes(self, at: datetime) -> datetime:
        while self.contains(at):
            at += timedelta(minutes=1)
        return at.replace(second=0, microsecond=0)


def test_without_a_saved_start_the_first_run_comes_at_once() -> None:
    now = moment(50.0)
    found = due(SIX_HOURLY, restored(now, None, left_over=False), now)

    assert found.first_run
    assert found.elapsed == 50.0


@pytest.mark.parametrize(("hours_ago", "waits"), [(5, HOUR), (6, 0), (7, -HOUR), (700, None)])
def test_a_restart_neither_skips_nor_repeats(hours_ago: int, waits: float | None) -> None:
    now = moment(100.0)
    past = restored(now, now.wall - timedelta(hours=hours_ago), left_over=False)
    found = due(SIX_HOURLY, past, now)

    assert not found.first_run
    if waits is not None:
        assert found.elapsed - now.elapsed == waits
    past = past.started(max(now.elapsed, found.elapsed), SIX_HOURLY)
    again = due(SIX_HOURLY, past, moment(max(now.elapsed, found.elapsed)))
    if hours_ago > 6:  # missed runs became the one that starts now
        assert again.elapsed == now.elapsed + 6 * HOUR


def test_a_start_in_the_future_waits_one_interval_at_most() -> None:
    now = moment(100.0)
    past = restored(now, now.wall + timedelta(days=3650), left_over=False)

    assert due(SIX_HOURLY, past, now).elapsed == now.elapsed + 6 * HOUR


@pytest.mark.parametrize("step", [-timedelta(days=400), timedelta(days=400)])
def test_within_one_boot_a_clock_step_changes_nothing(step: timedelta) -> None:
    now = moment(20_000.0)
    past = restored(now, now.wall + step, left_over=False, same_boot_start=now.elapsed - 5 * HOUR)

    assert due(SIX_HOURLY, past, now).elapsed == now.elapsed + HOUR


def test_a_saved_elapsed_second_ahead_of_the_clock_is_not_believed() -> None:
    now = moment(10.0)
    past = restored(now, now.wall - timedelta(hours=5), left_over=False, same_boot_start=99_999.0)

    assert due(SIX_HOURLY, past, now).elapsed == now.elapsed + HOUR


def test_what_is_left_over_comes_after_the_pause_and_keeps_the_grid() -> None:
    past = Progress(since=0.0).started(0.0, SIX_HOURLY).ended(30.0, left_over=True)
    found = due(SIX_HOURLY, past, moment(30.0))
    assert found.catching_up
    assert found.elapsed == 90.0

    past = past.started(90.0, SIX_HOURLY).ended(100.0, left_over=False)
    assert due(SIX_HOURLY, past, moment(100.0)).elapsed == 6 * HOUR


def test_a_regular_start_replaces_the_pause_when_it_comes_first() -> None:
    often = Timetable(interval=10, catch_up=60)
    past = Progress(since=0.0).started(0.0, often).ended(1.0, left_over=True)
    found = due(often, past, moment(1.0))

    assert not found.catching_up
    assert found.elapsed == 10.0


def test_a_crash_in_a_run_is_taken_up_after_the_pause() -> None:
    now = moment(1000.0)
    past = restored(now, now.wall - timedelta(seconds=20), left_over=True)
    found = due(SIX_HOURLY, past, now)

    assert found.catching_up
    assert found.elapsed == now.elapsed + 40


def test_an_owed_run_is_due_at_once() -> None:
    past = Progress(since=0.0).started(0.0, SIX_HOURLY).ended(1.0, left_over=False, retry=True)

    assert due(SIX_HOURLY, past, moment(500.0)).elapsed == 500.0
    assert not past.started(500.0, SIX_HOURLY).retry


def test_jitter_delays_a_start_and_never_the_next_one() -> None:
    table = Timetable(interval=HOUR, catch_up=60, jitter=600)
    past = Progress(since=0.0).started(0.0, table)
    found = due(table, past, moment(0.0), share=0.5)
    assert found.elapsed == HOUR + 300

    past = past.started(found.elapsed, table)
    assert due(table, past, moment(found.elapsed), share=0.0).elapsed == 2 * HOUR


def test_a_start_within_the_window_stays() -> None:
    table = Timetable(6 * HOUR, 60, window=Nightly(time(11), time(23)))

    assert due(table, Progress(since=0.0), moment(0.0)).elapsed == 0.0


def test_a_window_over_midnight_is_waited_for() -> None:
    table = Timetable(6 * HOUR, 60, window=Nightly(time(23), time(2)))
    past = Progress(since=0.0).started(0.0, table)
    assert due(table, past, moment(0.0)).elapsed == 11 * HOUR  # wanted 18:00, opens 23:00

    past = past.started(11 * HOUR, table).ended(11 * HOUR + 1, left_over=False)
    assert due(table, past, moment(11 * HOUR + 1)).elapsed == 35 * HOUR  # wanted 05:00


def test_a_run_missed_while_the_window_was_open_waits_for_the_next() -> None:
    table = Timetable(6 * HOUR, 60, window=Nightly(time(23), time(2)))
    past = Progress(since=0.0, anchor=0.0)  # noon; it could have run from 23:00
    asleep_until = moment(16 * HOUR)  # 04:00

    assert due(table, past, asleep_until).elapsed == 35 * HOUR


@pytest.mark.parametrize(
    ("day", "hours"),
    [(datetime(2026, 3, 28, 2, 30, tzinfo=UTC), 22.5), (datetime(2026, 10, 24, 2, tzinfo=UTC), 24)],
)
def test_a_window_follows_its_zone_over_a_change_of_time(day: datetime, hours: float) -> None:
    window = Nightly(time(3), time(4), "Europe/Berlin")
    table = Timetable(12 * HOUR, 60, window=window)
    past = Progress(since=0.0, anchor=0.0)
    found = due(table, past, ClockReading(day, 0.0))

    assert found.elapsed == hours * HOUR
    start = ClockReading(day, 0.0).at(found.elapsed).astimezone(ZoneInfo("Europe/Berlin"))
    assert (start.hour, start.minute) == (3, 0)


def test_a_step_of_the_wall_clock_moves_windows_and_no_interval() -> None:
    table = Timetable(6 * HOUR, 60, window=Nightly(time(23), time(2)))
    past = Progress(since=0.0, anchor=0.0)
    stepped = moment(HOUR, NOON + timedelta(hours=3))  # an hour later the clock says 15:00

    assert due(SIX_HOURLY, past, stepped).elapsed == 6 * HOUR
    assert due(table, past, stepped).elapsed == 9 * HOUR


def test_jitter_never_leads_out_of_the_window() -> None:
    table = Timetable(6 * HOUR, 60, jitter=7200, window=Nightly(time(17), time(19)))
    past = Progress(since=0.0, anchor=0.0)

    assert due(table, past, moment(0.0), share=0.25).elapsed == 6.5 * HOUR
    assert due(table, past, moment(0.0), share=0.9).elapsed == 6 * HOUR


def simulate(
    table: Timetable, runs: list[tuple[float, float]], outcome: Callable[[int], bool]
) -> list[tuple[float, float]]:
    """Return (start, end) of each run; each comes a latency late and lasts its duration."""
    past, now, found = Progress(since=0.0), 0.0, []
    for index, (latency, duration) in enumerate(runs):
        start = max(now, due(table, past, moment(now)).elapsed) + latency
        past = past.started(start, table).ended(start + duration, left_over=outcome(index))
        now = start + duration
        found.append((start, now))
    return found


@given(
    st.lists(st.tuples(st.floats(0, 0.9), st.floats(0, 8.0)), min_size=1, max_size=200),
)
def test_starts_do_not_drift(runs: list[tuple[float, float]]) -> None:
    table = Timetable(interval=10, catch_up=1)
    spans = simulate(table, runs, lambda _: False)

    origin = spans[0][0]
    for index, ((start, _), (latency, _)) in enumerate(zip(spans, runs, strict=True)):
        if index:
            assert start == pytest.approx(origin + 10 * index + latency)


RUNS = st.lists(st.tuples(st.floats(0, 30), st.floats(0, 60)), min_size=1, max_size=100)


@given(RUNS, st.sets(st.integers(0, 100)))
def test_runs_never_overlap(runs: list[tuple[float, float]], left_over: set[int]) -> None:
    spans = simulate(Timetable(interval=10, catch_up=1), runs, left_over.__contains__)

    for (_, end), (start, _) in itertools.pairwise(spans):
        assert start >= end


@given(RUNS)
def test_two_regular_starts_keep_nine_tenths_of_the_interval(
    runs: list[tuple[float, float]],
) -> None:
    spans = simulate(Timetable(interval=10, catch_up=1), runs, lambda _: False)

    for (first, _), (second, _) in itertools.pairwise(spans):
        assert second - first >= 9 - 1e-6
