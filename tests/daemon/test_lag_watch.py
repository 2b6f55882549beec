"""Whether a sweep keeps up: looked at between runs, told once a change and then daily."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from structlog.testing import capture_logs

from sweeperd.daemon.fleet import Fleet
from sweeperd.sweep.outcome.lag import RetentionLag
from tests.daemon.fake_clock import FakeClock
from tests.daemon.scripted import (
    HOUR,
    Call,
    Memory,
    ScriptedLink,
    ago,
    config,
    no_holds,
    sweep_config,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DAY = 24 * HOUR
# 2 x interval + timeout
LIMIT = 12 * HOUR + 30


@asynccontextmanager
async def watched(
    link: ScriptedLink, memory: Memory | None = None, **changes: Any
) -> AsyncIterator[Fleet]:
    clock = link.clock
    fleet = Fleet(lambda _: link, memory or Memory(), no_holds(clock), clock)
    fleet.apply(config(sweep_config(**changes)))

    async def look() -> None:
        while True:
            await clock.sleep(60)
            await fleet.measure_lags()

    task = asyncio.create_task(look())
    try:
        yield fleet
    finally:
        task.cancel()
        fleet.stop()
        await fleet.ended()
        await fleet.close()


async def test_the_lag_is_measured_at_each_tenth_of_the_interval_but_not_within_5_minutes(
    clock: FakeClock, link: ScriptedLink
) -> None:
    async with watched(link, Memory(sessions=ago(clock, hours=1))):
        await clock.sleep(5 * HOUR)
    slow = [at for _, at in link.measured]
    link.measured.clear()
    async with watched(link, Memory(often=ago(clock)), name="often", interval=timedelta(minutes=9)):
        await clock.sleep(HOUR)
    quick = [at for _, at in link.measured]

    assert 8 <= len(slow) <= 10  # each 36 minutes
    assert 6 <= len(quick) <= 13
    for times in (slow, quick):
        gaps = [later - at for at, later in itertools.pairwise(times)]
        assert min(gaps) >= 300


async def test_a_sweep_that_falls_behind_is_told_once_then_daily_and_when_it_caught_up(
    clock: FakeClock, link: ScriptedLink
) -> None:
    async def caps(call: Call) -> None:
        call.report.retention_lag = RetentionLag(link.lags[0])
        call.report.finish("capped", "max_rows is reached")

    link.lags, link.behaviours = [LIMIT - 1], [caps]
    with capture_logs() as logs:
        async with watched(link) as fleet:
            await clock.sleep(DAY)
            assert "behind" not in fleet.status()
            link.lags = [LIMIT + 1]
            await clock.sleep(2.5 * DAY)
            assert "behind sessions" in fleet.status()
            link.lags = [60.0]
            await clock.sleep(DAY)
            assert "behind" not in fleet.status()

    told = [line for line in logs if line["event"] in {"sweep_behind", "sweep_caught_up"}]
    assert [line["event"] for line in told] == ["sweep_behind"] * 3 + ["sweep_caught_up"]
    assert told[0]["log_level"] == "warning"
    assert told[0]["max_retention_lag_seconds"] == LIMIT
    assert "max_rows is reached" in told[0]["reason"]


async def test_a_lag_that_cannot_be_measured_grows_until_the_sweep_is_behind_with_the_reason(
    clock: FakeClock, link: ScriptedLink
) -> None:
    async def fails(call: Call) -> None:
        call.report.fail("table public.sessions does not exist")

    link.lags, link.behaviours = [None], [fails]
    with capture_logs() as logs:
        async with watched(link):
            await clock.sleep(LIMIT - 60)
            assert not [line for line in logs if line["event"] == "sweep_behind"]
            await clock.sleep(HOUR)

    [told] = [line for line in logs if line["event"] == "sweep_behind"]
    assert told["reason"].count("does not exist") == 1


async def test_a_lost_database_makes_its_sweeps_behind_and_its_return_ends_it(
    clock: FakeClock, link: ScriptedLink
) -> None:
    async with watched(link) as fleet:
        await clock.sleep(HOUR)
        link.reachable = False
        await clock.sleep(LIMIT + 2 * HOUR)
        assert "behind sessions" in fleet.status()
        link.reachable = True
        await clock.sleep(8 * HOUR)
        assert "behind" not in fleet.status()


async def test_a_drained_run_without_a_measure_counts_as_no_lag(
    clock: FakeClock, link: ScriptedLink
) -> None:
    link.lags = [None]
    async with watched(link, column="", condition="old") as fleet:
        await clock.sleep(3 * DAY)
        assert "behind" not in fleet.status()


async def test_a_short_limit_is_no_alarm_before_the_first_look(
    clock: FakeClock, link: ScriptedLink
) -> None:
    memory = Memory(sessions=ago(clock))
    with capture_logs() as logs:
        async with watched(link, memory, limit=timedelta(minutes=1)):
            await clock.sleep(5 * HOUR)

    assert link.measured
    assert not [line for line in logs if line["event"] == "sweep_behind"]
