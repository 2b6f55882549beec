"""What keeps a loop from running: a database that is away, a guard, an operator."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from structlog.testing import capture_logs

from sweeperd.sweep.guards.hold_file import Hold, Holds
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


def guard_hold(*kinds: str) -> Hold:
    return Hold("sessions", "no sampled row would survive", by="guard", kinds=kinds)


async def test_a_guards_hold_stays_until_it_is_released(
    clock: FakeClock, link: ScriptedLink, tmp_path: Path
) -> None:
    holds = Holds(tmp_path, clock.now)

    async def held(call: Call) -> None:
        holds.place(guard_hold("survivors"))
        call.report.finish("held", "no sampled row would survive")

    link.behaviours = [held, drains]
    supervisor = supervise(link, holds=holds)
    with capture_logs() as logs:
        async with running(supervisor):
            await clock.sleep(13 * HOUR)
            assert supervisor.state == "held"
            assert len(link.starts) == 1
            holds.release("sessions", "alice")
            supervisor.look_at_hold()
            await clock.sleep(1)

    assert [call.released for call in link.calls] == [(), ("survivors",)]
    assert holds.released("sessions") is None
    told = [log for log in logs if log["event"] == "sweep_held"]
    assert [log["reason"] for log in told] == ["no sampled row would survive"]
    assert told[0]["release"] == "sweeperd release sessions"
    released = [log for log in logs if log["event"] == "sweep_released"]
    assert [log["user"] for log in released] == ["alice"]


async def test_a_hold_is_told_once_a_day(
    clock: FakeClock, link: ScriptedLink, tmp_path: Path
) -> None:
    holds = Holds(tmp_path, clock.now)
    holds.place(guard_hold("jump"))
    with capture_logs() as logs:
        async with running(supervise(link, holds=holds)):
            await clock.sleep(49 * HOUR)

    told = [log for log in logs if log["event"] == "sweep_held"]
    assert len(told) == 3
    assert {log["key"] for log in told} == {"max_jump"}


async def test_a_hold_survives_a_restart(
    clock: FakeClock, link: ScriptedLink, tmp_path: Path
) -> None:
    holds = Holds(tmp_path, clock.now)
    holds.place(guard_hold("survivors"))
    record = ago(clock, hours=7)
    async with running(supervise(link, Memory(sessions=record), holds=holds)):
        await clock.sleep(HOUR)

    assert link.starts == []


async def test_changed_settings_do_not_remove_a_hold(
    clock: FakeClock, link: ScriptedLink, tmp_path: Path
) -> None:
    holds = Holds(tmp_path, clock.now)
    holds.place(guard_hold("survivors"))
    supervisor = supervise(link, holds=holds)
    async with running(supervisor):
        await clock.sleep(60)
        supervisor.rebind(bind(sweep_config(timeout=timedelta(seconds=20)), link))
        await clock.sleep(7 * HOUR)

    assert link.starts == []


async def test_an_operators_hold_ends_the_run_and_outlives_a_reload(
    clock: FakeClock, link: ScriptedLink, tmp_path: Path
) -> None:
    link.behaviours = [waits_for_its_stop, drains]
    holds = Holds(tmp_path, clock.now)
    supervisor = supervise(link, holds=holds)
    async with running(supervisor):
        await clock.sleep(1)
        holds.place(Hold("sessions", "audit"))
        supervisor.look_at_hold()
        supervisor.rebind(bind(sweep_config(timeout=timedelta(seconds=20)), link))
        await clock.sleep(HOUR)
        assert supervisor.state == "held"
        assert len(link.starts) == 1
        holds.release("sessions", "alice")
        supervisor.look_at_hold()
        await clock.sleep(1)

    assert [call.released for call in link.calls] == [(), ()]


async def test_a_hold_ends_at_its_end_time(
    clock: FakeClock, link: ScriptedLink, tmp_path: Path
) -> None:
    holds = Holds(tmp_path, clock.now)
    holds.place(Hold("sessions", "audit", until=clock.now() + timedelta(hours=2)))
    supervisor = supervise(link, holds=holds)
    with capture_logs() as logs:
        async with running(supervisor):
            await clock.sleep(2 * HOUR - 60)
            assert link.starts == []
            await clock.sleep(120)
            assert len(link.starts) == 1

    assert any("end time has passed" in str(log.get("reason")) for log in logs)


async def test_a_release_outlives_an_outage(
    clock: FakeClock, link: ScriptedLink, tmp_path: Path
) -> None:
    holds = Holds(tmp_path, clock.now)
    holds.place(guard_hold("survivors"))
    supervisor = supervise(link, holds=holds)
    assert supervisor._binding is not None
    outage = supervisor._binding.outage
    outage._on_change = supervisor.wake
    link.reachable = False
    async with running(supervisor):
        await clock.sleep(1)
        holds.release("sessions", "alice")
        supervisor.look_at_hold()
        await clock.sleep(60)
        link.reachable = True
        await clock.sleep(60)
    await outage.close()

    assert [call.released for call in link.calls] == [("survivors",), ("survivors",)]
