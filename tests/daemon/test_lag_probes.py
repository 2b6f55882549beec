"""The daemon's look at the retention lag between runs: a survey once, then two statements."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeperd.config.models import DatabaseConfig, SweepConfig
from sweeperd.daemon.lag_probes import LagProbes
from sweeperd.errors import DatabaseUnreachableError
from sweeperd.host.clock import SystemClock
from sweeperd.postgres.connect import Database
from sweeperd.sweep.outcome.lag import RetentionLag
from sweeperd.sweep.outcome.memory import SweepMemory
from tests.conftest import TestDatabase
from tests.daemon.process import DaemonProcess
from tests.sweep.engine import settings

ROWS = (
    "CREATE TABLE t AS SELECT g AS id, now() - g * interval '1 hour' AS expires_at "
    "FROM generate_series(-5, 10) g;"
)


def probes(dsn: str, connections: int = 4) -> LagProbes:
    config = DatabaseConfig(name="app", dsn=dsn, max_connections=connections)
    return LagProbes(Database(config), SystemClock(), lambda _: SweepMemory())


async def look(looks: LagProbes, sweep: SweepConfig) -> RetentionLag:
    [lag] = (await looks.measure([sweep])).values()
    return lag


async def test_what_changes_between_two_looks_is_seen_and_a_fault_is_told(
    database: TestDatabase,
) -> None:
    looks, sweep = probes(database.dsn), settings()

    missing = await look(looks, sweep)
    await database.execute(ROWS)
    first = await look(looks, sweep)
    await database.execute("DELETE FROM t WHERE expires_at < now() - interval '8.5 hours'")
    second = await look(looks, sweep)
    await database.execute("ALTER TABLE t RENAME COLUMN expires_at TO ends_at")
    renamed = await look(looks, sweep)
    condition = await look(looks, settings(column=None, keep=None, condition="id > 0"))

    assert (missing.seconds, "does not exist" in (missing.reason or "")) == (None, True)
    assert first.seconds == pytest.approx(10 * 3600, abs=60)
    assert second.seconds == pytest.approx(8 * 3600, abs=60)
    assert (renamed.seconds, "expires_at" in (renamed.reason or "")) == (None, True)
    assert condition.seconds is None


async def test_a_look_takes_no_connection_that_a_run_waits_for(database: TestDatabase) -> None:
    await database.execute(ROWS)
    config = DatabaseConfig(name="app", dsn=database.dsn, max_connections=1)
    shared = Database(config)
    looks = LagProbes(shared, SystemClock(), lambda _: SweepMemory())

    async with shared.slot():
        assert await looks.measure([settings()]) == {}
    assert len(await looks.measure([settings(), settings(name="other")])) == 2


async def test_a_database_that_is_away_is_an_error() -> None:
    with pytest.raises(DatabaseUnreachableError):
        await probes("postgresql://u@127.0.0.1:1/d").measure([settings()])


async def test_the_log_and_the_status_tell_that_a_sweep_is_behind(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(ROWS)
    sweep = (
        "[sweeps.s]\ntable = 't'\ncolumn = 'expires_at'\nkeep = '0s'\ndry_run = true\n"
        "max_retention_lag = '1h'\n"
    )

    async with DaemonProcess(tmp_path, database.dsn, sweep) as daemon:
        told = await daemon.event("sweep_behind")
        await daemon.notify.until("STATUS=", "behind s")
        ran = await daemon.event("sweep_ran")
        assert await daemon.end() == 0

    assert told["level"] == "warning"
    assert told["retention_lag_seconds"] == pytest.approx(10 * 3600, abs=60)
    assert "dry run" in told["reason"]
    assert ran["retention_lag_seconds"] == told["retention_lag_seconds"]
    assert ran["backlog_estimate"] == 11
