"""Batches, duration, runs and WAL of a plan: past runs first, documented defaults else."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from sweeperd.config.models import DatabaseConfig
from sweeperd.host.clock import SystemClock
from sweeperd.postgres.connect import Database
from sweeperd.sweep.guards.decide import GUARD_KEYS
from sweeperd.sweep.outcome.memory import SweepMemory
from sweeperd.sweep.preview.forecast import Forecast, Pace, past_pace
from sweeperd.sweep.preview.obstacles import Standing
from sweeperd.sweep.preview.preview import TablePreview, preview
from tests.conftest import TestDatabase
from tests.sweep.engine import settings, sweep

ROWS = (
    "CREATE TABLE t AS SELECT g AS id, now() - g * interval '1 second' AS expires_at "
    "FROM generate_series(-1000, 20000) g"
)


def report(deleted: object, batches: object, seconds: object) -> dict[str, object]:
    return {"deleted_count": deleted, "batches": batches, "duration_seconds": seconds}


async def foreseen(
    database: TestDatabase,
    *history: dict[str, object],
    memory: SweepMemory | None = None,
    **given: Any,
) -> tuple[TablePreview, Forecast]:
    one, config = settings(**given), DatabaseConfig(name="app", dsn=database.dsn)
    standing = Standing(SystemClock().now(), None, GUARD_KEYS, memory or SweepMemory(), history)
    async with Database(config).connection() as connection:
        seen = await preview(connection, one, config, SystemClock(), standing)
    assert seen.table is not None
    assert seen.table.forecast is not None
    return seen.table, seen.table.forecast


def test_only_runs_that_deleted_much_tell_of_a_pace() -> None:
    known = [report(2000, 4, 2.0), report(6000, 4, 2.0), report(4000, 4, 2.0)]
    useless = [
        report(999, 1, 0.1),
        report(5000, 0, 1.0),
        report(5000, 5, 0),
        report("5000", 5, 1.0),
        {},
    ]

    assert past_pace([*known, *useless]) == Pace(2000.0, 1000.0)
    assert past_pace(useless) is None
    # the newest five count
    assert past_pace([report(1_000_000, 1, 1.0)] * 9 + known[:1] * 5) == Pace(1000.0, 500.0)


async def test_past_runs_calibrate_and_limits_make_more_runs(database: TestDatabase) -> None:
    await database.execute(ROWS)

    _, plain = await foreseen(database)
    _, past = await foreseen(database, report(2000, 4, 2.0))
    _, limited = await foreseen(database, max_rows=3000, rate_limit=100)

    assert (plain.basis, plain.runs) == ("defaults", 1)
    assert past.basis == "past runs"
    assert past.batches == pytest.approx(40, abs=1)
    assert past.seconds == pytest.approx(20, abs=1)
    assert limited.seconds == pytest.approx(200, abs=1)
    assert limited.runs == 7


@pytest.mark.parametrize("strategy", ["heap", "index"])
async def test_batches_are_as_many_as_those_of_the_size_learned(
    database: TestDatabase, strategy: str
) -> None:
    keys: dict[str, Any] = {"strategy": strategy, "timeout": timedelta(minutes=1)}
    await database.execute(f"{ROWS}; CREATE INDEX ON t (expires_at); CREATE TABLE u AS TABLE t")
    first = await sweep(database.dsn, **keys)
    await database.execute("TRUNCATE t; INSERT INTO t TABLE u")

    _, known = await foreseen(database, memory=first.memory, **keys)
    second = await sweep(database.dsn, memory=first.memory, **keys)

    assert 0.25 * second.batches <= known.batches <= 4 * second.batches + 1


async def test_the_wal_of_a_run_is_no_more_than_foreseen(database: TestDatabase) -> None:
    await database.execute(ROWS + "; CHECKPOINT")
    seen, known = await foreseen(database, strategy="heap", timeout=timedelta(minutes=1))
    before = await database.fetchval("SELECT pg_current_wal_insert_lsn()::text")

    done = await sweep(database.dsn, strategy="heap", timeout=timedelta(minutes=1))

    written = await database.fetchval(
        "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), $1::text::pg_lsn)::bigint", before
    )
    assert done.deleted_count == seen.amount.expired
    assert 0.5 * known.wal_bytes < written < 1.5 * known.wal_bytes
