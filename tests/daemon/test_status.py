"""What a sweep's status says, for each reason why it does not run."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from sweeperd.config.values.window import Window
from sweeperd.daemon.status import SweepStatus
from sweeperd.sweep.guards.hold_file import Hold, Holds
from sweeperd.sweep.outcome.lag import RetentionLag
from tests.daemon.fake_clock import FakeClock
from tests.daemon.scripted import (
    HOUR,
    Call,
    ScriptedLink,
    config,
    drains,
    lasts,
    noon,
    sweep_config,
    waits_for_its_stop,
)
from tests.daemon.test_fleet import fleet_on


async def fails(call: Call) -> None:
    call.report.fail('permission denied for table "t"')


async def test_each_state_has_its_reason(
    clock: FakeClock, link: ScriptedLink, tmp_path: Path
) -> None:
    holds = Holds(tmp_path, clock.now)
    async with fleet_on(link, holds) as fleet:

        def status(name: str) -> SweepStatus:
            found = fleet.sweep_status(name)
            assert found is not None
            return found

        link.behaviours = [drains, fails, waits_for_its_stop]
        window = Window.parse("01:00-05:00")
        fleet.apply(
            config(
                sweep_config(name="a", dry_run=True),
                sweep_config(name="night", window=window),
                sweep_config(name="off", enabled=False),
            )
        )
        await clock.sleep(1)
        assert status("a").reason == "dry_run = true: rows are counted, none is deleted"
        assert status("a").next_run == noon() + timedelta(hours=6)
        assert status("a").is_well
        night = status("night")
        assert (night.state, night.next_run) == ("waiting", noon() + timedelta(hours=13))
        assert night.reason == f"it is outside its window {window}"
        assert status("off").state == "disabled"
        assert status("off").is_well
        assert fleet.sweep_status("none") is None
        assert fleet.sweeps() == ["a", "night", "off"]

        await clock.sleep(6 * HOUR)
        assert status("a").reason == 'the last run failed: permission denied for table "t"'
        assert not status("a").is_well
        assert "failed a (permission denied" in fleet.status()

        await clock.sleep(6 * HOUR)
        running = status("a")
        assert (running.state, running.is_well) == ("running", False)
        supervisor = fleet.supervisor("a")
        assert supervisor is not None
        link.calls[-1].report.deadline = None
        assert "max_connections" in (status("a").reason or "")
        holds.place(Hold("a", "audit", by="alice", since=clock.now()))
        fleet.look_at_holds()
        await clock.sleep(1)
        held = status("a")
        assert (held.state, held.reason, held.next_run) == ("held", "audit, set by alice", None)
        assert held.held_since is not None
        assert (held.totals.runs, held.totals.deleted_count) == (3, 3)
        assert SweepStatus.from_json(held.as_json()).as_json() == held.as_json()


async def test_what_a_due_run_waits_for_is_named(clock: FakeClock, link: ScriptedLink) -> None:
    link.behaviours = [lasts(clock, 20)]
    async with fleet_on(link) as fleet:
        fleet.apply(config(sweep_config(name="a", before=("b",)), sweep_config(name="b")))
        await clock.sleep(1)
        behind = fleet.sweep_status("b")
        assert behind is not None
        assert (behind.state, behind.reason) == ("waiting", "a must finish first")
        await clock.sleep(60)
        link.reachable = False
        await clock.sleep(7 * HOUR)
        away = fleet.sweep_status("a")
        assert away is not None
        assert away.state == "waiting"
        assert away.reason == "database app is away: database app: cannot connect"


async def test_a_requested_run_waits_for_nothing_and_is_told_when_there_will_be_none(
    clock: FakeClock, link: ScriptedLink
) -> None:
    async with fleet_on(link) as fleet:
        fleet.apply(config(sweep_config(name="a", window=Window.parse("01:00-05:00"))))
        await clock.sleep(1)
        supervisor = fleet.supervisor("a")
        assert supervisor is not None
        report = await supervisor.request_run("mine")
        assert report is not None
        assert (report["correlation_id"], report["outcome"]) == ("mine", "drained")
        assert report["exit_code"] == 0

        unanswered = supervisor.request_run(None)
        fleet.apply(config())
        assert await unanswered is None
    assert len(link.starts) == 1


async def test_a_sweep_that_is_behind_is_not_well(clock: FakeClock, link: ScriptedLink) -> None:
    async with fleet_on(link) as fleet:
        fleet.apply(config(sweep_config(name="a")))
        await clock.sleep(1)
        supervisor = fleet.supervisor("a")
        assert supervisor is not None
        supervisor.take_lag(RetentionLag(60.0))
        lagging = fleet.sweep_status("a")
        assert lagging is not None
        assert (lagging.retention_lag_seconds, lagging.behind) == (60.0, False)
        assert lagging.is_well
        supervisor.take_lag(RetentionLag(1e6))
        behind = fleet.sweep_status("a")
        assert behind is not None
        assert (behind.retention_lag_seconds, behind.behind, behind.is_well) == (1e6, True, False)
        assert behind.reason == "expired rows stay longer than max_retention_lag"
        assert "behind a" in fleet.status()
