"""What needs a person is loud once for each change of state, and again after a day."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from sweeperd.log.events import SweepReleased, SweepThrottled
from sweeperd.log.run_events import RowSkipped
from sweeperd.sweep.guards.hold_file import Hold, Holds
from tests.daemon.fake_clock import FakeClock
from tests.daemon.scripted import HOUR, Call, ScriptedLink, drains, running, supervise, times_out

QUIET = {"debug", "info"}


async def refused(call: Call) -> None:
    call.report.fail("permission denied for table t")


async def gone(call: Call) -> None:
    call.report.fail('relation "t" does not exist')


async def loud(clock: FakeClock, link: ScriptedLink, hours: float) -> list[str]:
    """Return what was loud while a sweep ran each hour, with its error or outcome."""
    with capture_logs() as logs:
        async with running(supervise(link, interval=timedelta(hours=1), catch_up=timedelta(0))):
            await clock.sleep(hours * HOUR - 1)
    return [
        str(log.get("error") or log.get("reason") or log["event"])
        for log in logs
        if log["log_level"] not in QUIET and log["event"] != "sweep_behind"
    ]


async def test_a_failure_is_loud_when_it_is_news(clock: FakeClock, link: ScriptedLink) -> None:
    link.behaviours = [refused, refused, gone, gone, drains, gone, drains]

    denied, missing = "permission denied for table t", 'relation "t" does not exist'
    assert await loud(clock, link, 8) == [denied, missing, missing]


async def test_a_failure_that_lasts_is_loud_each_day(clock: FakeClock, link: ScriptedLink) -> None:
    link.behaviours = [refused]

    assert len(await loud(clock, link, 48)) == 2
    assert len(link.starts) == 48


async def test_a_backlog_that_takes_many_runs_is_loud_once(
    clock: FakeClock, link: ScriptedLink
) -> None:
    link.behaviours = [times_out, times_out, times_out, drains]

    assert await loud(clock, link, 1) == ["sweep_timed_out"]


async def test_a_database_that_is_away_is_told_by_one_line_for_all_its_sweeps(
    clock: FakeClock, link: ScriptedLink
) -> None:
    link.reachable = False

    assert await loud(clock, link, 3) == ["database app: cannot connect"]


async def test_a_row_or_a_wait_that_comes_in_each_run_is_loud_once(
    clock: FakeClock, link: ScriptedLink
) -> None:
    async def meets(call: Call) -> None:
        call.listener(RowSkipped("sessions", "t", "id=7", "referenced"))
        call.listener(RowSkipped("sessions", "t", f"id={len(link.starts)}", "referenced"))
        call.listener(SweepThrottled("sessions", "table t is locked", len(link.starts) / 2))
        await drains(call)

    link.behaviours = [meets]

    assert await loud(clock, link, 3) == [
        "referenced", "referenced", "table t is locked", "referenced", "referenced"
    ]  # fmt: skip


@pytest.mark.parametrize("is_known", [True, False])
async def test_a_release_is_told_once(
    clock: FakeClock, link: ScriptedLink, tmp_path: Path, *, is_known: bool
) -> None:
    """Whether the daemon saw the hold, or was started after the release."""

    async def passes(call: Call) -> None:
        call.listener(SweepReleased("sessions", "no sampled row would survive"))
        await drains(call)

    link.behaviours = [passes]
    holds = Holds(tmp_path, clock.now)
    supervisor = supervise(link, holds=holds)
    holds.place(Hold("sessions", "no row would survive", by="guard", kinds=("survivors",)))
    with capture_logs() as logs:
        if is_known:
            supervisor.look_at_hold()
        holds.release("sessions", "alice")
        async with running(supervisor):
            await clock.sleep(HOUR)

    assert len([log for log in logs if log["event"] == "sweep_released"]) == 1
    assert len(link.starts) == 1
