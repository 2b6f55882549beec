"""Runs share a database's connections in turn."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from sweeperd.config.models import DatabaseConfig
from sweeperd.host.clock import SystemClock
from sweeperd.log.events import SweepWaits
from sweeperd.postgres.connect import Database
from sweeperd.sweep.guards.decide import GUARD_KEYS
from sweeperd.sweep.once import run_once
from sweeperd.sweep.options import RunOptions
from sweeperd.sweep.outcome.report import Report
from sweeperd.sweep.runner import Runner
from tests.conftest import TestDatabase
from tests.sweep.engine import Heard, settings

ROWS = (
    "CREATE TABLE {0} (id int PRIMARY KEY, expires_at timestamptz);"
    "INSERT INTO {0} SELECT n, now() - interval '1 day' FROM generate_series(1, 20000) n"
)


async def _run(
    database: Database, table: str, stop: asyncio.Event, heard: Heard, **given: object
) -> Report:
    report = Report(table, f"{table}-test")
    one = settings(name=table, table=table, **given)
    await run_once(
        Runner(one, database, SystemClock(), listener=heard),
        report,
        RunOptions(stop=stop, released=GUARD_KEYS),
        timeout=one.timeout.total_seconds(),
        clock=SystemClock(),
    )
    return report


async def test_runs_with_several_workers_never_wait_for_one_another_for_ever(
    database: TestDatabase,
) -> None:
    tables = [f"t{number}" for number in range(4)]
    for table in tables:
        await database.execute(ROWS.format(table))
    shared = Database(DatabaseConfig(name="app", dsn=database.dsn, max_connections=4))
    stop, heard = asyncio.Event(), Heard()

    async with asyncio.timeout(60):
        reports = await asyncio.gather(
            *(_run(shared, table, stop, heard, workers=2, max_batch_rows=500) for table in tables)
        )

    assert [report.outcome for report in reports] == ["drained"] * 4
    assert sum(report.deleted_count for report in reports) == 80_000


async def test_the_timeout_counts_from_the_connection(database: TestDatabase) -> None:
    await database.execute(ROWS.format("t"))
    shared = Database(DatabaseConfig(name="app", dsn=database.dsn, max_connections=1))
    heard, stop = Heard(), asyncio.Event()
    async with shared.slot():
        waiting = asyncio.ensure_future(
            _run(shared, "t", stop, heard, timeout=timedelta(seconds=1))
        )
        async with asyncio.timeout(10):
            while not heard.of(SweepWaits):
                assert not waiting.done()
                await asyncio.wait([waiting], timeout=0.05)
        # the wait alone has taken the whole timeout by now

    report = await waiting

    assert (report.outcome, report.deleted_count) == ("drained", 20_000)
    assert report.waited_seconds["max_connections"] >= 1
    assert "max_connections = 1" in heard.of(SweepWaits)[0].reason


async def test_a_stop_ends_the_wait_for_a_connection(database: TestDatabase) -> None:
    shared = Database(DatabaseConfig(name="app", dsn=database.dsn, max_connections=1))
    stop = asyncio.Event()
    async with shared.slot():
        waiting = asyncio.ensure_future(_run(shared, "t", stop, Heard()))
        stop.set()
        async with asyncio.timeout(10):
            report = await waiting

    assert report.outcome == "stopped"
    assert shared.has_free_slot


async def test_forty_runs_on_one_connection_are_served_in_turn(database: TestDatabase) -> None:
    tables = [f"t{number}" for number in range(40)]
    for table in tables:
        await database.execute(
            f"CREATE TABLE {table} (id int, expires_at timestamptz);"
            f"INSERT INTO {table} SELECT n, now() - interval '1 day' FROM generate_series(1, 50) n"
        )
    shared = Database(DatabaseConfig(name="app", dsn=database.dsn, max_connections=1))
    stop, heard = asyncio.Event(), Heard()
    order: list[str] = []

    async def one(table: str) -> None:
        report = await _run(shared, table, stop, heard, timeout=timedelta(seconds=5))
        assert report.outcome == "drained"
        order.append(table)

    async with asyncio.timeout(100):
        await asyncio.gather(*(one(table) for table in tables))

    assert order == tables
