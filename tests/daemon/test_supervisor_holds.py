"""What keeps a loop from running: a database that is away, a guard, an operator."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from structlog.testing import capture_logs

from tests.daemon.fake_clock import FakeClock
from tests.daemon.scripted import (
    HOUR,
    Call,
    Memory,
    ScriptedLink,
    ago,
    bind,
    drains,
    running,
    supervise,
    sweep_config,
    waits_for_its_stop,
)

if TYPE_CHECKING:
    pass


async def test_a_database_that_is_away_is_told_once_and_its_run_comes_with_its_return(
    clock: FakeClock, link: ScriptedLink
) -> None:
    link.reachable = False
    memory = Memory(sessions=ago(clock, hours=7))
    supervisor = supervise(link, memory)
    assert supervisor._binding is not None
    outage = supervisor._binding.outage
    outage._on_change = supervisor.wake
    with capture_logs() as logs:
        async with running(supervisor):
            await clock.sleep(3 * HOUR)
            assert supervisor.state == "away"
            assert memory.record("sessions").last_start == clock.now() - timedelta(hours=10)
            link.reachable = True
            back = clock.elapsed()
            await clock.sleep(HOUR)
    await outage.close()

    assert len(link.starts) == 2
    assert link.starts[1] - back <= 30
    pauses = [b - a for a, b in zip(link.probes, link.probes[1:], strict=False)]
    assert max(pauses) <= 30
    told = [log["event"] for log in logs if log["event"].startswith("database")]
    assert told == ["database_lost", "database_back"]


async def test_a_login_that_works_while_runs_do_not_is_no_storm(
    clock: FakeClock, link: ScriptedLink
) -> None:
    async def loses(call: Call) -> None:
        call.report.cutoff_time = None
        call.report.fail("too many connections", 69)

    link.behaviours = [loses]
    supervisor = supervise(link)
    assert supervisor._binding is not None
    outage = supervisor._binding.outage
    outage._on_change = supervisor.wake
    async with running(supervisor):
        await clock.sleep(HOUR)
    await outage.close()

    assert HOUR / 30 <= len(link.starts) <= HOUR / 15


async def test_a_guards_hold_stays_until_it_is_released(
    clock: FakeClock, link: ScriptedLink
) -> None:
    async def held(call: Call) -> None:
        call.report.finish("held", "no sampled row would survive")

    link.behaviours = [held, drains]
    memory = Memory()
    supervisor = supervise(link, memory)
    with capture_logs() as logs:
        async with running(supervisor):
            await clock.sleep(13 * HOUR)
            assert supervisor.state == "held"
            assert len(link.starts) == 1
            supervisor.release()
            await clock.sleep(1)

    assert [call.release for call in link.calls] == [False, True]
    assert memory.record("sessions").held is None
    reasons = [log["reason"] for log in logs if log["event"] == "sweep_held"]
    assert reasons == ["no sampled row would survive"] * 3


async def test_a_guards_hold_survives_a_restart(clock: FakeClock, link: ScriptedLink) -> None:
    record = replace(ago(clock, hours=7), held="doubt", held_by="guard")
    async with running(supervise(link, Memory(sessions=record))):
        await clock.sleep(HOUR)

    assert link.starts == []


async def test_changed_settings_let_the_guard_look_again(
    clock: FakeClock, link: ScriptedLink
) -> None:
    record = replace(ago(clock, hours=1), held="doubt", held_by="guard")
    supervisor = supervise(link, Memory(sessions=record))
    async with running(supervisor):
        await clock.sleep(60)
        supervisor.rebind(bind(sweep_config(timeout=timedelta(seconds=20)), link))
        await clock.sleep(60)

    assert [call.release for call in link.calls] == [False]


async def test_an_operators_hold_ends_the_run_and_outlives_a_reload(
    clock: FakeClock, link: ScriptedLink
) -> None:
    link.behaviours = [waits_for_its_stop, drains]
    supervisor = supervise(link)
    async with running(supervisor):
        await clock.sleep(1)
        supervisor.hold("audit")
        supervisor.rebind(bind(sweep_config(timeout=timedelta(seconds=20)), link))
        await clock.sleep(HOUR)
        assert supervisor.state == "held"
        assert len(link.starts) == 1
        supervisor.release()
        await clock.sleep(1)

    assert [call.release for call in link.calls] == [False, False]


async def test_a_release_outlives_an_outage(clock: FakeClock, link: ScriptedLink) -> None:
    record = replace(ago(clock, hours=1), held="doubt", held_by="guard")
    supervisor = supervise(link, Memory(sessions=record))
    assert supervisor._binding is not None
    outage = supervisor._binding.outage
    outage._on_change = supervisor.wake
    link.reachable = False
    async with running(supervisor):
        await clock.sleep(1)
        supervisor.release()
        await clock.sleep(60)
        link.reachable = True
        await clock.sleep(60)
    await outage.close()

    assert [call.release for call in link.calls] == [True, True]
