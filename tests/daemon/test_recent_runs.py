"""Inflow, drain and the time to the end, checked against loads that are known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from sweeperd.daemon.recent_runs import RecentRuns, RunFigures

START = datetime(2026, 1, 15, 12, tzinfo=UTC)


@dataclass
class Load:
    """Rows expire evenly, and runs delete them evenly."""

    backlog: float
    inflow: float
    speed: float
    timeout: float = 30.0
    pause: float = 60.0

    def runs(self) -> Iterator[tuple[dict[str, object], float]]:
        """Yield each run's report, and the second it ended, until nothing is left."""
        at, left = 0.0, self.backlog
        while left > 0:
            seconds = min(self.timeout, left / self.speed)
            deleted = seconds * self.speed
            entry: dict[str, object] = {
                "started_at": (START + timedelta(seconds=at)).isoformat(),
                "duration_seconds": seconds,
                "deleted_count": int(deleted),
                "outcome": "timed_out" if deleted < left else "drained",
            }
            left += seconds * self.inflow - deleted
            entry["backlog_estimate"] = left
            yield entry, at + seconds
            if entry["outcome"] == "drained":
                return
            at += seconds + self.pause
            left += self.pause * self.inflow


@pytest.mark.parametrize("inflow", [0.0, 50.0, 200.0])
def test_the_eta_is_right_after_a_tenth_of_a_steady_load(inflow: float) -> None:
    load = Load(backlog=1_000_000, inflow=inflow, speed=1_000)
    known = list(load.runs())
    whole = known[-1][1]
    runs = RecentRuns()
    checked = 0
    for entry, ended in known[:-1]:
        runs.add(entry)
        if ended < whole / 10:
            continue
        rates = runs.rates(load.pause)
        assert rates.eta_seconds == pytest.approx(whole - ended, rel=0.15, abs=2 * load.pause)
        assert rates.drain == pytest.approx(1_000 * 30 / 90, rel=0.02)
        assert rates.inflow == pytest.approx(inflow, abs=1)
        checked += 1
    assert checked > 20


def test_one_long_run_knows_its_end_while_it_is_under_way() -> None:
    runs = RecentRuns()
    runs.add(
        {"started_at": (START - timedelta(minutes=1)).isoformat(), "duration_seconds": 0.0}
        | {"deleted_count": 0, "outcome": "throttled", "backlog_estimate": 1_000_000}
    )
    runs.add(
        {"started_at": (START - timedelta(seconds=1)).isoformat(), "duration_seconds": 1.0}
        | {"deleted_count": 1_000, "outcome": "drained", "backlog_estimate": 1_000_000}
    )
    under_way = RunFigures(START, 100.0, 100_000, is_under_way=True)

    rates = runs.rates(60.0, under_way)

    inflow = 1_000 / 60  # two estimates, and what was deleted between them
    assert rates.drain == pytest.approx(1_000)
    assert rates.inflow == pytest.approx(inflow)
    assert rates.backlog == pytest.approx(900_000 + 100 * inflow)
    assert rates.eta_seconds == pytest.approx(900_000 / 1_000, rel=0.05)


def test_what_a_whole_pass_deleted_has_expired_since_the_one_before() -> None:
    runs = RecentRuns()
    for hour, outcome in ((0, "drained"), (6, "timed_out"), (7, "drained")):
        started_at = (START + timedelta(hours=hour)).isoformat()
        runs.add(
            {"started_at": started_at, "duration_seconds": 10.0, "deleted_count": 10_800}
            | {"outcome": outcome}
        )

    rates = runs.rates(60.0)

    assert rates.inflow == pytest.approx(2 * 10_800 / (6 * 3600))
    assert (rates.backlog, rates.eta_seconds) == (0, 0)
    assert (runs.count, runs.deleted) == (3, 32_400)


def test_a_backlog_that_grows_never_ends() -> None:
    runs = RecentRuns()
    for minute in range(3):
        runs.add(
            {"started_at": (START + timedelta(minutes=minute)).isoformat()}
            | {"duration_seconds": 30.0, "deleted_count": 100, "outcome": "timed_out"}
            | {"backlog_estimate": 1_000 + 50 * minute}
        )

    rates = runs.rates(30.0)

    assert rates.is_losing
    assert rates.eta_seconds is None
    assert rates.inflow == pytest.approx(150 / 60)


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"started_at": "yesterday", "deleted_count": 1, "duration_seconds": 1.0},
        {"started_at": START.isoformat(), "deleted_count": "1", "duration_seconds": 1.0},
        {"started_at": "2026-01-15T12:00:00", "deleted_count": 1, "duration_seconds": 1.0},
        {"started_at": START.isoformat(), "deleted_count": 1, "duration_seconds": 1.0},
        {"started_at": START.isoformat(), "deleted_count": 0, "duration_seconds": 1.0}
        | {"outcome": "drained", "expired_count": 7},
    ],
)
def test_what_is_not_known_is_none(entry: dict[str, object]) -> None:
    runs = RecentRuns([entry])

    rates = runs.rates(60.0)

    assert (rates.backlog, rates.inflow, rates.eta_seconds) == (None, None, None)
    assert runs.last == entry
