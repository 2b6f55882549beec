"""HoldReasons hold a sweep: nothing is deleted, the reason is said, a release lets it go."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from sweeperd.demo.server import Installation, Server
from sweeperd.host.clock import SystemClock
from sweeperd.log.events import SweepReleased
from sweeperd.log.run_events import SweepWarning
from sweeperd.sweep.guards.hold_file import Holds
from sweeperd.sweep.outcome.memory import SweepMemory
from tests.conftest import TestDatabase
from tests.sweep.engine import Heard, sweep

ROWS = (
    "CREATE TABLE t AS SELECT g AS id, now() + (g - 50.5) * interval '1 hour' AS expires_at "
    "FROM generate_series(1, 100) g"
)


class LyingClock(SystemClock):
    """The host's clock, so many seconds off."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.seconds)


async def held(dsn: str, memory: SweepMemory, **given: Any) -> str:
    """Run; it must be held without a row gone. Return the reason."""
    connection = await asyncpg.connect(dsn)
    before = await connection.fetchval("SELECT count(*) FROM t")
    report = await sweep(dsn, memory=memory, release=False, **given)
    assert report.outcome == "held", report
    assert await connection.fetchval("SELECT count(*) FROM t") == before
    await connection.close()
    return report.end_reason or ""


async def test_a_release_passes_what_the_hold_told_and_nothing_newer(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(ROWS + "; DELETE FROM t WHERE id > 40")
    holds = Holds(tmp_path, SystemClock().now)
    await held(database.dsn, SweepMemory(), holds=holds)
    told = holds.release("s", "test")
    assert told is not None
    assert told.kinds == ("survivors",)
    lying = LyingClock(400)

    report = await sweep(database.dsn, release=False, holds=holds, clock=lying)

    assert (report.outcome, report.deleted_count) == ("held", 0)
    assert "max_clock_skew" in (report.end_reason or "")
    assert "survive" not in (report.end_reason or "")
    assert (await sweep(database.dsn, release=False, holds=holds)).outcome == "held"
    told = holds.release("s", "test")
    assert told is not None
    assert told.kinds == ("clock", "survivors")
    report = await sweep(database.dsn, release=False, holds=holds, clock=lying)
    assert (report.outcome, report.deleted_count) == ("drained", 40)


@pytest.mark.parametrize("seconds", [-400, 400])
async def test_clocks_that_are_too_far_apart_hold(database: TestDatabase, seconds: int) -> None:
    await database.execute(ROWS)

    reason = await held(database.dsn, SweepMemory(), clock=LyingClock(seconds))

    assert "max_clock_skew" in reason


async def test_clocks_within_the_skew_do_not(database: TestDatabase) -> None:
    await database.execute(ROWS)

    report = await sweep(database.dsn, release=False, clock=LyingClock(200))

    assert (report.outcome, report.deleted_count) == ("drained", 50)


async def test_a_first_run_without_survivors_holds_and_a_release_is_heard(
    database: TestDatabase,
) -> None:
    await database.execute(ROWS + "; DELETE FROM t WHERE id > 40")
    memory = SweepMemory()
    assert "none of 40 sampled rows" in await held(database.dsn, memory)
    assert memory == SweepMemory()
    heard = Heard()

    report = await sweep(database.dsn, memory=memory, heard=heard, release=True)

    assert (report.outcome, report.deleted_count) == ("drained", 40)
    assert "none of 40 sampled rows" in heard.of(SweepReleased)[0].reason


async def test_a_known_sweep_may_empty_its_table(database: TestDatabase) -> None:
    await database.execute(ROWS)
    memory = SweepMemory()
    await sweep(database.dsn, memory=memory, release=False)
    await database.execute("UPDATE t SET expires_at = now() - interval '1 hour'")

    report = await sweep(database.dsn, memory=memory, release=False)

    assert (report.outcome, report.deleted_count) == ("drained", 50)


@pytest.mark.parametrize(
    "changed", [{"where": "id > 0"}, {"keep": timedelta(seconds=1)}, {"column": '"expires_at"'}]
)
async def test_changed_settings_are_looked_at_like_a_first_run(
    database: TestDatabase, changed: dict[str, Any]
) -> None:
    await database.execute(ROWS)
    memory = SweepMemory()
    await sweep(database.dsn, memory=memory, release=False)
    await database.execute("UPDATE t SET expires_at = now() - interval '1 hour'")

    reason = await held(database.dsn, memory, **changed)

    assert "its settings have changed" in reason


async def test_a_database_clock_that_went_back_holds(database: TestDatabase) -> None:
    await database.execute(ROWS)
    memory = SweepMemory()
    await sweep(database.dsn, memory=memory, release=False)
    assert memory.facts is not None
    memory.facts = replace(memory.facts, cutoff=memory.facts.cutoff + 400_000_000)

    assert "went back" in await held(database.dsn, memory)


async def test_a_database_clock_that_ran_ahead_of_elapsed_time_holds(
    database: TestDatabase,
) -> None:
    await database.execute(ROWS)
    memory = SweepMemory()
    await sweep(database.dsn, memory=memory, release=False)
    assert memory.facts is not None
    memory.facts = replace(memory.facts, cutoff=memory.facts.cutoff - 400_000_000)

    assert "passed here" in await held(database.dsn, memory)


async def test_a_table_that_was_made_anew_holds(database: TestDatabase) -> None:
    await database.execute(ROWS)
    memory = SweepMemory()
    await sweep(database.dsn, memory=memory, release=False)
    await database.execute("DROP TABLE t;" + ROWS)

    assert "it was made anew" in await held(database.dsn, memory)


@pytest.fixture
async def own_server() -> AsyncIterator[Server]:
    server = Server(Installation.find(), {"wal_level": "replica", "max_wal_senders": "4"})
    server.create()
    server.start()
    yield server
    server.stop(immediate=True)
    server.remove()


async def prepared(server: Server) -> None:
    connection = await asyncpg.connect(server.dsn())
    await connection.execute(ROWS)
    await connection.close()


def copied(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)


async def test_a_restored_data_directory_holds(own_server: Server) -> None:
    await prepared(own_server)
    own_server.stop()
    backup = own_server.directory / "backup"
    copied(own_server.data, backup)
    own_server.start()
    memory = SweepMemory()
    assert (await sweep(own_server.dsn(), memory=memory, release=False)).deleted_count == 50
    own_server.stop()
    shutil.rmtree(own_server.data)
    copied(backup, own_server.data)
    own_server.start()

    assert "restored to an earlier state" in await held(own_server.dsn(), memory)


async def test_a_promotion_does_not_hold(own_server: Server) -> None:
    await prepared(own_server)
    memory = SweepMemory()
    assert (await sweep(own_server.dsn(), memory=memory, release=False)).deleted_count == 50
    standby = Server(own_server.installation, {"wal_level": "replica"})
    standby.create()
    try:
        shutil.rmtree(standby.data)
        basebackup = own_server.installation.bin / "pg_basebackup"
        subprocess.run(
            [str(basebackup), "-D", str(standby.data), "-d", own_server.dsn(), "-c", "fast", "-R"],
            check=True,
            capture_output=True,
            **standby._as_user(),
        )
        standby.start()
        own_server.stop()
        connection = await asyncpg.connect(standby.dsn())
        await connection.execute("SELECT pg_promote()")
        await connection.execute(
            "UPDATE t SET expires_at = now() - interval '1 hour' WHERE id < 60"
        )
        await connection.close()
        heard = Heard()

        report = await sweep(standby.dsn(), memory=memory, heard=heard, release=False)

        assert (report.outcome, report.deleted_count) == ("drained", 9)
        assert "promoted" in str(heard.of(SweepWarning))
    finally:
        standby.stop(immediate=True)
        standby.remove()


async def test_a_standby_is_waited_for_and_nothing_goes(own_server: Server) -> None:
    await prepared(own_server)
    connection = await asyncpg.connect(own_server.dsn())
    await connection.execute("ALTER DATABASE postgres SET default_transaction_read_only = on")
    await connection.close()

    report = await sweep(own_server.dsn(), timeout=timedelta(seconds=2))

    assert (report.outcome, report.deleted_count) == ("throttled", 0)
    assert "read-only" in (report.end_reason or "")


async def test_what_a_role_cannot_read_is_named_as_not_guarded(database: TestDatabase) -> None:
    await database.execute(ROWS)
    role = await database.role()
    await database.execute(
        f'GRANT SELECT, UPDATE, DELETE ON t TO "{role}";'
        "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC"
    )

    report = await sweep(database.dsn_for(role))

    assert report.outcome == "drained"
    assert any("not guarded" in warning for warning in report.warnings)


async def test_a_larger_share_than_allowed_holds(database: TestDatabase) -> None:
    await database.execute(ROWS)

    reason = await held(database.dsn, SweepMemory(), max_fraction=0.4)

    assert "50% of the sampled rows are expired, more than max_fraction (40%)" in reason
    assert (await sweep(database.dsn, release=False, max_fraction=0.5)).deleted_count == 50


async def test_a_jump_against_the_usual_holds(database: TestDatabase) -> None:
    await database.execute(ROWS)
    memory = SweepMemory()
    await sweep(database.dsn, memory=memory, release=False)
    hour = 3_600_000_000
    for _ in range(4):  # hours in which one row of a hundred expired
        _look_back(memory, hour)
        await database.execute("INSERT INTO t VALUES (0, now() - interval '1 second')")
        await database.execute(
            "INSERT INTO t SELECT g, now() + interval '9 hours' FROM generate_series(1, 20) g"
        )
        assert (await sweep(database.dsn, memory=memory, release=False)).outcome == "drained"
    _look_back(memory, hour)
    await database.execute("UPDATE t SET expires_at = now() - interval '1 s' WHERE id % 2 = 0")

    assert "times the usual" in await held(database.dsn, memory)
    _look_back(memory, 100 * hour)  # after a long pause the same is no jump
    assert (await sweep(database.dsn, memory=memory, release=False)).outcome == "drained"


def _look_back(memory: SweepMemory, micros: int) -> None:
    """Let the last drained run have been earlier."""
    load = memory.usual_load
    assert load is not None
    memory.usual_load = replace(load, drained_at=load.drained_at - micros)
