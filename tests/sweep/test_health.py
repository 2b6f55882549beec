"""Sweeps wait between two batches while the server is unwell, and say why."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from sweeperd.config.models import HealthConfig
from sweeperd.demo.server import Server
from sweeperd.log.events import SweepThrottled
from tests.cli.command import configured, sweep_table, sweeperd
from tests.conftest import TestDatabase
from tests.parts import need
from tests.support import postgres
from tests.sweep.engine import Heard, sweep

ROWS = (
    "CREATE TABLE t AS SELECT g AS id, now() - interval '1 hour' AS expires_at "
    "FROM generate_series(1, 500) g;"
)
FLAG = "CREATE TABLE flag AS SELECT false AS ok;"
SHORT = timedelta(seconds=3)


@asynccontextmanager
async def throttled(dsn: str, health: HealthConfig) -> AsyncIterator[asyncio.Task[Any]]:
    """Run a sweep until it waits for the server; the reason is in the task's name."""
    heard = Heard()
    running = asyncio.create_task(sweep(dsn, heard=heard, health=health))
    async with asyncio.timeout(30):
        while not heard.of(SweepThrottled):
            await asyncio.sleep(0)
            assert not running.done(), running.result()
    running.set_name(heard.of(SweepThrottled)[0].reason)
    yield running


@pytest.mark.every_server
async def test_an_operators_question_stops_sweeps_and_lets_them_go_on(
    database: TestDatabase,
) -> None:
    await database.execute(ROWS + FLAG)
    health = HealthConfig(query="SELECT ok FROM public.flag")
    async with throttled(database.dsn, health) as running:
        assert running.get_name() == "the health query answers false"
        assert await database.fetchval("SELECT count(*) FROM t") == 500
        await database.execute("UPDATE flag SET ok = true")
        report = await running

    assert (report.outcome, report.deleted_count) == ("drained", 500)
    assert report.waited_seconds["the health query answers false"] > 0


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("SELECT ok FROM flag", 'relation "flag" does not exist'),
        ("SELECT 1 / 0 = 1", "division by zero"),
        ("42", "boolean"),
        ("SELECT pg_catalog.pg_sleep(20) IS NULL", "statement timeout"),
    ],
)
async def test_a_question_that_fails_stops_the_sweep_and_check(
    database: TestDatabase, tmp_path: Path, query: str, reason: str
) -> None:
    await database.execute(ROWS + FLAG)
    config = configured(
        tmp_path, database, f'[databases.app.health]\nquery = "{query}"\n' + sweep_table()
    )

    report = await sweep(database.dsn, health=HealthConfig(query=query), timeout=SHORT)
    checked = await sweeperd("check", config)

    assert (report.outcome, report.deleted_count) == ("throttled", 0)
    assert reason in (report.end_reason or "")
    assert checked.code == 1
    assert reason in checked.out


async def test_a_slot_that_retains_too_much_stops_sweeps(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(ROWS + "SELECT pg_create_physical_replication_slot('left', true)")
    config = configured(
        tmp_path, database, '[databases.app.health]\nmax_slot_bytes = "1B"\n' + sweep_table()
    )
    try:
        await database.execute("CREATE TABLE some_wal AS SELECT generate_series(1, 1000)")
        checked = await sweeperd("check", config)
        async with throttled(database.dsn, HealthConfig(max_slot_bytes=1)) as running:
            assert running.get_name().startswith("replication slot left retains more than 1B")
            await database.execute("SELECT pg_drop_replication_slot('left')")
            report = await running
    finally:
        await database.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
        )

    assert (report.outcome, report.deleted_count) == ("drained", 500)
    assert "sweeps wait: replication slot left" in checked.out


async def test_sessions_that_wait_for_locks_stop_sweeps(database: TestDatabase) -> None:
    await database.execute(ROWS + FLAG)
    first, second = await database.connect(), await database.connect()
    await first.execute("BEGIN; LOCK TABLE flag")
    waiting = asyncio.ensure_future(second.execute("LOCK TABLE flag; SELECT"))
    while not await database.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
        pass
    async with throttled(database.dsn, HealthConfig(max_wait_queue=0)) as running:
        assert "wait for locks" in running.get_name()
        await first.execute("COMMIT")
        report = await running
    await asyncio.gather(waiting, return_exceptions=True)

    assert report.outcome == "drained"


@need("postgres15")
async def test_a_paused_replica_stops_sweeps_and_who_cannot_see_it_is_told_the_grant(
    tmp_path: Path,
) -> None:
    installation = postgres.installation(15)
    assert installation is not None
    primary = Server(installation, {"wal_level": "replica"})
    primary.create()
    primary.start()
    standby = Server(primary.installation, {"wal_level": "replica"})
    standby.create()
    try:
        shutil.rmtree(standby.data)
        command = [str(primary.installation.bin / "pg_basebackup"), "-D", str(standby.data)]
        subprocess.run(
            [*command, "-d", primary.dsn(), "-c", "fast", "-R"],
            check=True,
            capture_output=True,
            **standby._as_user(),
        )
        standby.start()
        admin, replica = await asyncpg.connect(primary.dsn()), await asyncpg.connect(standby.dsn())
        await replica.execute("SELECT pg_wal_replay_pause()")
        await admin.execute(
            ROWS + "CREATE ROLE app LOGIN; GRANT SELECT, UPDATE, DELETE ON t TO app"
        )
        while not await admin.fetchval(
            "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn) > 1 FROM pg_stat_replication"
        ):
            pass
        path = tmp_path / "sweeperd.toml"
        path.write_text(
            f'[databases.app]\ndsn = "{primary.dsn(user="app")}"\n'
            '[databases.app.health]\nmax_replication_bytes = "1B"\n' + sweep_table()
        )
        blind = await sweeperd("check", f"--config={path}")
        await admin.execute("GRANT pg_read_all_stats TO app")
        seeing = await sweeperd("check", f"--config={path}")
        limits = HealthConfig(max_replication_bytes=1)
        stopped = await sweep(primary.dsn(user="app"), health=limits, timeout=SHORT)
        await replica.execute("SELECT pg_wal_replay_resume()")
        roomy = HealthConfig(max_replication_bytes=2**20)
        report = await sweep(primary.dsn(user="app"), health=roomy)
        while not await replica.fetchval("SELECT count(*) FROM pg_roles WHERE rolname = 'app'"):
            pass
        standing_by = tmp_path / "standby.toml"
        standing_by.write_text(
            path.read_text().replace(str(primary.directory), str(standby.directory))
        )
        read_only = await sweeperd("check", f"--config={standing_by}")
        await admin.close()
        await replica.close()
    finally:
        for one in (standby, primary):
            one.stop(immediate=True)
            one.remove()

    assert "read-only: sweeps wait until it is not" in read_only.out
    assert "recovery is in progress" not in read_only.out
    assert blind.code == 1
    assert "GRANT pg_read_all_stats TO app" in blind.out
    assert seeing.code == 0
    assert "walreceiver is more than 1B behind (max_replication_bytes)" in seeing.out
    assert (stopped.outcome, stopped.deleted_count) == ("throttled", 0)
    assert "walreceiver is more than 1B behind" in (stopped.end_reason or "")
    assert (report.outcome, report.deleted_count) == ("drained", 500)


async def test_faults_in_the_table_of_limits_are_named_with_their_place(tmp_path: Path) -> None:
    path = tmp_path / "sweeperd.toml"
    path.write_text(
        '[databases.app]\ndsn = "host=/nonexistent dbname=d user=u"\n'
        '[databases.app.health]\nmax_slot_byte = "1GB"\nquery = ")"\n' + sweep_table()
    )

    wrong = await sweeperd("check", "--offline", f"--config={path}")
    path.write_text(
        path.read_text().replace("max_slot_byte =", "max_slot_bytes =").replace('")"', '"true"')
    )
    right = await sweeperd("check", "--offline", "--print", f"--config={path}")

    assert wrong.code == 78
    assert f"{path}:4: databases.app.health.max_slot_byte: is not a known key" in wrong.err
    assert "did you mean max_slot_bytes?" in wrong.err
    assert f"{path}:5: databases.app.health.query" in wrong.err
    assert 'health = { max_replication_bytes = "1GB", max_slot_bytes = "1GB", ' in right.out
