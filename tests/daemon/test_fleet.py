from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from sweeperd.config.values.window import Window
from sweeperd.daemon.fleet import Changes, Fleet
from sweeperd.sweep.guards.hold_file import Hold, Holds
from tests.daemon.fake_clock import FakeClock
from tests.daemon.scripted import (
    HOUR,
    DatabaseSettings,
    Memory,
    ScriptedLink,
    config,
    drains,
    lasts,
    no_holds,
    sweep_config,
    times_out,
    waits_for_its_stop,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sweeperd.config.models import DatabaseConfig

A = sweep_config(name="a")
B = sweep_config(name="b")


@asynccontextmanager
async def fleet_on(link: ScriptedLink, holds: Holds | None = None) -> AsyncIterator[Fleet]:
    fleet = Fleet(lambda _: link, Memory(), holds or no_holds(link.clock), link.clock)
    try:
        yield fleet
    finally:
        fleet.stop()
        await fleet.ended()
        await fleet.close()


def names(link: ScriptedLink) -> list[str]:
    return [call.sweep.name for call in link.calls]


async def test_a_reload_starts_new_ends_removed_and_spares_unchanged(
    clock: FakeClock, link: ScriptedLink
) -> None:
    async with fleet_on(link) as fleet:
        assert fleet.apply(config(A, B)) == Changes(["a", "b"], [], [])
        await clock.sleep(HOUR)
        c = sweep_config(name="c")
        faster = sweep_config(name="b", interval=timedelta(hours=1))
        assert fleet.apply(config(A, faster, c)) == Changes(["c"], ["b"], [])
        await clock.sleep(1)
        assert sorted(names(link)) == ["a", "b", "b", "c"]
        assert fleet.apply(config(faster, c)) == Changes([], [], ["a"])
        await clock.sleep(5 * HOUR)
        assert names(link).count("a") == 1
        assert fleet.apply(config(faster, c)) == Changes([], [], [])


async def test_a_disabled_sweep_does_not_run(clock: FakeClock, link: ScriptedLink) -> None:
    async with fleet_on(link) as fleet:
        fleet.apply(config(A, sweep_config(name="b", enabled=False)))
        await clock.sleep(HOUR)

    assert names(link) == ["a"]


async def test_a_sweep_removed_and_put_back_in_a_run_never_runs_twice_at_a_time(
    clock: FakeClock, link: ScriptedLink
) -> None:
    link.behaviours = [lasts(clock, 20)]  # it has no edge before its end
    async with fleet_on(link) as fleet:
        fleet.apply(config(A))
        await clock.sleep(1)
        for _ in range(3):
            fleet.apply(config())
            fleet.apply(config(A))
        await clock.sleep(7 * HOUR)

    assert link.most_at_once == 1
    assert [start - link.starts[0] for start in link.starts] == [0, 6 * HOUR]


async def test_children_go_first_and_are_waited_for_while_they_owe_a_run(
    clock: FakeClock, link: ScriptedLink
) -> None:
    parent = sweep_config(name="parent", interval=timedelta(hours=1))
    child = sweep_config(name="child", interval=timedelta(hours=2), before=("parent",))
    link.behaviours = [times_out, lasts(clock, 25), drains]
    async with fleet_on(link) as fleet:
        fleet.apply(config(parent, child))
        await clock.sleep(3 * HOUR + 120)

    # child, its leftovers after catch_up, parent; parent alone; child, parent; parent alone
    assert names(link) == ["child", "child", "parent", "parent", "child", "parent", "parent"]
    assert link.most_at_once == 1
    assert link.starts[2] - link.starts[1] == 25


async def test_a_child_that_is_held_or_never_done_stops_no_parent_for_good(
    clock: FakeClock, link: ScriptedLink, tmp_path: Path
) -> None:
    holds = Holds(tmp_path, clock.now)
    parent = sweep_config(name="parent", interval=timedelta(hours=1))
    child = sweep_config(name="child", interval=timedelta(hours=1), before=("parent",))
    link.behaviours = [times_out]
    async with fleet_on(link, holds) as fleet:
        fleet.apply(config(parent, child))
        await clock.sleep(HOUR - 5)
        assert set(names(link)) == {"child"}
        await clock.sleep(HOUR / 2)
        assert names(link).count("parent") >= 1
        holds.place(Hold("child", "audit"))
        fleet.look_at_holds()
        link.behaviours = [drains]
        done = len(names(link))
        await clock.sleep(2 * HOUR)
    assert set(names(link)[done:]) == {"parent"}


async def test_a_window_does_not_make_a_parent_wait_for_ever(
    clock: FakeClock, link: ScriptedLink
) -> None:
    always = Window.parse("00:00-23:59")
    parent = sweep_config(name="parent", interval=timedelta(hours=1), window=always)
    child = sweep_config(name="child", interval=timedelta(hours=1), before=("parent",))
    link.behaviours = [times_out]
    async with fleet_on(link) as fleet:
        fleet.apply(config(parent, child))
        await clock.sleep(1.5 * HOUR)

    assert "parent" in names(link)


async def test_six_hundred_reloads_break_nothing(clock: FakeClock, link: ScriptedLink) -> None:
    link.behaviours = [lasts(clock, 0.05)]
    async with fleet_on(link) as fleet:
        for number in range(600):
            seconds = 1 + number % 3
            fleet.apply(config(A, sweep_config(name="b", interval=timedelta(seconds=seconds))))
            await clock.sleep(0.1)
        assert fleet.health_problems(asyncio.get_running_loop().time()) == []
        assert names(link).count("a") == 1
        assert 20 <= names(link).count("b") <= 60


async def test_a_changed_database_gives_its_sweeps_a_new_link(clock: FakeClock) -> None:
    made: list[ScriptedLink] = []

    def connect(_settings: DatabaseConfig) -> ScriptedLink:
        made.append(ScriptedLink(clock))
        return made[-1]

    fleet = Fleet(connect, Memory(), no_holds(clock), clock)
    fleet.apply(config(A))
    await clock.sleep(HOUR)
    moved = DatabaseSettings(dsn="postgresql://other/app")
    assert fleet.apply(config(A, databases=(moved,))).changed == ["a"]
    assert fleet.apply(config(A, databases=(moved,))).changed == []
    await clock.sleep(6 * HOUR)
    fleet.stop()
    await fleet.ended()
    await fleet.close()

    assert [len(link.starts) for link in made] == [1, 1]


async def test_a_dead_loop_is_an_ailment_and_a_reload_cures_it(
    clock: FakeClock, link: ScriptedLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fleet_on(link) as fleet:
        fleet.apply(config(A))
        await clock.sleep(1)
        member = fleet._members["a"]
        with monkeypatch.context() as patch, capture_logs() as logs:
            patch.setattr(member.supervisor, "_nap", lambda _: 1 / 0)
            member.supervisor.wake()
            await asyncio.wait([member.task])
            await clock.sleep(1)
        assert [log["event"] for log in logs] == ["sweep_loop_died"]
        now = asyncio.get_running_loop().time()
        assert fleet.health_problems(now) == ["the loop of sweep a has died"]
        assert fleet.apply(config(A)).added == ["a"]
        assert fleet.health_problems(now) == []


async def test_a_run_far_over_its_time_is_an_ailment_even_of_a_removed_sweep(
    clock: FakeClock, link: ScriptedLink
) -> None:
    link.behaviours = [lasts(clock, 20)]
    async with fleet_on(link) as fleet:
        fleet.apply(config(A))
        await clock.sleep(1)
        now = asyncio.get_running_loop().time()
        assert fleet.health_problems(now + 30) == []
        expected = ["a run of sweep a has outlived its timeout by 30 s"]
        assert fleet.health_problems(now + 61) == expected
        fleet.apply(config())
        assert fleet.health_problems(now + 61) == expected


async def test_the_status_is_plain_words(
    clock: FakeClock, link: ScriptedLink, tmp_path: Path
) -> None:
    link.behaviours = [waits_for_its_stop, drains]
    holds = Holds(tmp_path, clock.now)
    async with fleet_on(link, holds) as fleet:
        fleet.apply(config(A))
        await clock.sleep(1)
        assert fleet.status() == "1 sweep; sweeping a"
        holds.place(Hold("a", "audit"))
        fleet.look_at_holds()
        await clock.sleep(1)
        assert fleet.status() == "1 sweep; held a (audit)"
        holds.release("a", "test")
        fleet.look_at_holds()
        await clock.sleep(1)
        assert fleet.status() == "1 sweep; next a at 2026-01-15 18:00 UTC"
        link.reachable = False
        fleet.apply(config(A, *(sweep_config(name=name) for name in "bcdef")))
        await clock.sleep(1)
        lost = "6 sweeps; waiting for database app (database app: cannot connect)"
        assert fleet.status() == lost


async def test_sweeps_on_one_lost_database_wait_together(
    clock: FakeClock, link: ScriptedLink
) -> None:
    link.reachable = False
    with capture_logs() as logs:
        async with fleet_on(link) as fleet:
            fleet.apply(config(A, B))
            await clock.sleep(3 * HOUR)
            link.reachable = True
            back = clock.elapsed()
            await clock.sleep(HOUR)
    assert names(link) == ["a", "a", "b"]  # what one has found out, the other does not try
    assert all(start - back <= 30 for start in link.starts[1:])
    told = [log["event"] for log in logs if log["event"].startswith("database")]
    assert told == ["database_lost", "database_back"]
