from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, timedelta
from typing import TYPE_CHECKING

import pytest
from structlog.contextvars import get_contextvars
from structlog.testing import capture_logs

from sweeperd.daemon.state.record import SweepRecord
from sweeperd.log.daemon_events import DatabaseBack, DatabaseLost
from sweeperd.log.run_events import BatchCommitted
from sweeperd.sweep.outcome.memory import SweepMemory
from sweeperd.sweep.outcome.progress import LeafProgress
from tests.daemon.fake_clock import FakeClock
from tests.daemon.scripted import (
    HOUR,
    Call,
    Memory,
    ScriptedLink,
    ago,
    bind,
    drains,
    lasts,
    never_ends,
    running,
    supervise,
    sweep_config,
    times_out,
    waits_for_its_stop,
)

if TYPE_CHECKING:
    pass

OUTCOMES = {"sweep_ran", "sweep_timed_out", "sweep_failed"}


async def test_a_day_of_starts_without_drift(clock: FakeClock, link: ScriptedLink) -> None:
    link.behaviours = [lasts(clock, 20)]
    async with running(supervise(link)):
        await clock.sleep(24 * HOUR + 100)

    origin = link.starts[0]
    assert [start - origin for start in link.starts] == [
        0,
        6 * HOUR,
        12 * HOUR,
        18 * HOUR,
        24 * HOUR,
    ]


async def test_long_runs_never_overlap(clock: FakeClock, link: ScriptedLink) -> None:
    link.behaviours = [lasts(clock, 25)]
    async with running(supervise(link, interval=timedelta(seconds=10))):
        await clock.sleep(HOUR)

    assert link.most_at_once == 1
    assert len(link.starts) == HOUR / 25


@pytest.mark.parametrize(("hours", "waits"), [(5, HOUR), (7, 0.0), (1000, 0.0)])
async def test_a_restart_neither_skips_nor_repeats(
    clock: FakeClock, link: ScriptedLink, hours: int, waits: float
) -> None:
    begun = clock.elapsed()
    async with running(supervise(link, Memory(sessions=ago(clock, hours=hours)))):
        await clock.sleep(waits + 5 * HOUR)

    assert [start - begun for start in link.starts] == [waits]


async def test_a_start_saved_in_the_future_waits_one_interval_at_most(
    clock: FakeClock, link: ScriptedLink
) -> None:
    begun = clock.elapsed()
    async with running(supervise(link, Memory(sessions=ago(clock, days=-400)))):
        await clock.sleep(7 * HOUR)

    assert [start - begun for start in link.starts] == [6 * HOUR]


@pytest.mark.parametrize("step", [-30 * 24 * HOUR, 30 * 24 * HOUR])
async def test_a_step_of_the_wall_clock_moves_no_start(
    clock: FakeClock, link: ScriptedLink, step: float
) -> None:
    async with running(supervise(link)):
        await clock.sleep(HOUR)
        clock.step(step)
        await clock.sleep(6 * HOUR)

    assert link.starts[1] - link.starts[0] == 6 * HOUR


async def test_after_a_step_a_restart_in_the_same_boot_still_knows(
    clock: FakeClock, link: ScriptedLink
) -> None:
    memory = Memory()
    async with running(supervise(link, memory)):
        await clock.sleep(HOUR)
    clock.step(-30 * 24 * HOUR)
    async with running(supervise(link, memory)):
        await clock.sleep(6 * HOUR)

    assert link.starts[1] - link.starts[0] == 6 * HOUR


async def test_a_run_missed_in_suspend_comes_soon_after_it(
    clock: FakeClock, link: ScriptedLink
) -> None:
    async with running(supervise(link)):
        await clock.sleep(HOUR)
        clock.suspend(20 * HOUR)
        resumed = clock.elapsed()
        await clock.sleep(HOUR)

    assert len(link.starts) == 2
    assert link.starts[1] - resumed <= 60


def at(value: int) -> LeafProgress:
    """Return how far a leaf has come by slices of its column."""
    return LeafProgress("at a position", value=value)


async def test_what_is_left_over_is_taken_up_after_the_pause_at_its_cursor(
    clock: FakeClock, link: ScriptedLink
) -> None:
    async def leaves_a_cursor(call: Call) -> None:
        leaves = call.report.memory.leaves
        leaves["1"] = at(int(str(leaves.get("1", at(0)).value)) + 1)
        await times_out(call)

    link.behaviours = [leaves_a_cursor, leaves_a_cursor, drains]
    memory = Memory()
    with capture_logs() as logs:
        async with running(supervise(link, memory)):
            await clock.sleep(HOUR)

    assert [start - link.starts[0] for start in link.starts] == [0, 60, 120]
    assert link.calls[2].report.memory.leaves == {"1": at(2)}
    ends = [log["event"] for log in logs if log["event"] in OUTCOMES]
    assert ends == ["sweep_timed_out", "sweep_timed_out", "sweep_ran"]
    record = memory.record("sessions")
    assert record.memory.leaves == {"1": at(2)}
    assert [run.report["outcome"] for run in memory.runs] == ["timed_out", "timed_out", "drained"]
    assert not record.left_over


async def test_a_crash_in_a_run_is_taken_up_after_the_pause(
    clock: FakeClock, link: ScriptedLink
) -> None:
    died = replace(
        ago(clock, seconds=10), last_outcome=None, memory=SweepMemory(leaves={"1": at(7)})
    )
    begun = clock.elapsed()
    async with running(supervise(link, Memory(sessions=died))):
        await clock.sleep(HOUR)

    assert [start - begun for start in link.starts] == [50]
    assert link.calls[0].report.memory.leaves == {"1": at(7)}


async def test_a_database_that_is_lost_in_a_run_is_told_with_the_reason(
    clock: FakeClock, link: ScriptedLink
) -> None:
    async def loses(call: Call) -> None:
        call.listener(DatabaseLost("app", "connection reset"))
        call.listener(DatabaseBack("app"))
        await drains(call)

    link.behaviours = [loses]
    with capture_logs() as logs:
        async with running(supervise(link, Memory())):
            await clock.sleep(HOUR)

    told = [log for log in logs if log["event"] == "database_lost"]
    assert [log["reason"] for log in told] == ["connection reset"]


async def test_the_memory_is_on_record_while_the_run_goes_on(
    clock: FakeClock, link: ScriptedLink
) -> None:
    memory = Memory()
    seen: list[SweepRecord] = []

    async def commits(call: Call) -> None:
        call.report.memory.leaves["1"] = at(1)
        call.listener(BatchCommitted("sessions", "1:index", 1, 0.1))
        seen.append(memory.record("sessions"))
        await drains(call)

    link.behaviours = [commits]
    async with running(supervise(link, memory)):
        await clock.sleep(HOUR)

    assert seen[0].memory.leaves == {"1": at(1)}
    assert seen[0].last_outcome is None
    assert seen[0].last_start is not None
    assert memory.touched == 1


async def test_the_log_tells_schedule_start_and_end_with_all_fields(
    clock: FakeClock, link: ScriptedLink
) -> None:
    ids: list[str] = []

    async def looks(call: Call) -> None:
        ids.append(get_contextvars()["correlation_id"])
        await drains(call)

    link.behaviours = [looks]
    with capture_logs() as logs:
        async with running(supervise(link)):
            await clock.sleep(HOUR)

    assert [log["event"] for log in logs] == ["sweep_scheduled", "sweep_started", "sweep_ran"]
    assert logs[0]["interval_seconds"] == 21600
    assert logs[0]["first_run"] is True
    assert logs[0]["next_run"].tzinfo is UTC
    assert set(logs[2]) >= {
        "sweep",
        "correlation_id",
        "deleted_count",
        "skipped_count",
        "cutoff_time",
        "outcome",
        "duration_seconds",
        "batches",
        "strategy",
        "end_reason",
    }
    assert logs[2]["correlation_id"] == ids[0]
    assert "correlation_id" not in get_contextvars()


async def test_a_defect_in_a_run_ends_neither_loop_nor_log(
    clock: FakeClock, link: ScriptedLink
) -> None:
    async def breaks(_call: Call) -> None:
        raise RuntimeError("a defect")

    link.behaviours = [breaks, drains]
    with capture_logs() as logs:
        async with running(supervise(link)):
            await clock.sleep(7 * HOUR)

    ends = [log for log in logs if log["event"] in OUTCOMES]
    assert [log["event"] for log in ends] == ["sweep_failed", "sweep_ran"]
    assert "a defect" in ends[0]["error"]


async def test_a_run_under_way_ends_at_the_batchs_edge(
    clock: FakeClock, link: ScriptedLink
) -> None:
    link.behaviours = [waits_for_its_stop]
    memory = Memory()
    async with running(supervise(link, memory)):
        await clock.sleep(1)

    assert memory.record("sessions").last_outcome == "stopped"
    assert memory.record("sessions").left_over


async def test_a_cancelled_run_is_still_told_and_recorded(
    clock: FakeClock, link: ScriptedLink
) -> None:
    link.behaviours = [never_ends]
    memory = Memory()
    supervisor = supervise(link, memory)
    with capture_logs() as logs:
        task = asyncio.create_task(supervisor.run())
        await clock.sleep(1)
        supervisor.end()
        task.cancel()
        await asyncio.wait([task])

    assert [log["event"] for log in logs if log["event"] in OUTCOMES] == ["sweep_ran"]
    assert memory.record("sessions").last_outcome == "stopped"


async def test_new_settings_count_from_the_last_start_and_spare_the_run_under_way(
    clock: FakeClock, link: ScriptedLink
) -> None:
    link.behaviours = [lasts(clock, 20)]
    supervisor = supervise(link)
    with capture_logs() as logs:
        async with running(supervisor):
            await clock.sleep(10)
            supervisor.rebind(bind(sweep_config(interval=timedelta(hours=1)), link))
            await clock.sleep(2 * HOUR)

    assert [start - link.starts[0] for start in link.starts] == [0, HOUR, 2 * HOUR]
    assert link.calls[0].sweep.interval == timedelta(hours=6)
    scheduled = [log for log in logs if log["event"] == "sweep_scheduled"]
    assert [log["interval_seconds"] for log in scheduled] == [21600, 3600]


async def test_a_run_that_outlives_its_timeout_by_far_is_noticed(
    clock: FakeClock, link: ScriptedLink
) -> None:
    link.behaviours = [waits_for_its_stop]
    supervisor = supervise(link)
    async with running(supervisor):
        await clock.sleep(1)
        now = asyncio.get_running_loop().time()
        assert not supervisor.overdue(now + 59)
        assert supervisor.overdue(now + 61)
    assert not supervisor.overdue(now + 61)
