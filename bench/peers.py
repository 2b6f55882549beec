"""Who is measured: sweeperd with its defaults, one DELETE, and the textbook loop."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import asyncpg

from sweeperd.config.models import DatabaseConfig, SweepConfig
from sweeperd.host.clock import SystemClock
from sweeperd.log.event import Event
from sweeperd.log.run_events import BatchCommitted
from sweeperd.postgres.connect import Database
from sweeperd.sweep.guards.decide import GUARD_KEYS
from sweeperd.sweep.once import run_once
from sweeperd.sweep.options import RunOptions
from sweeperd.sweep.outcome.report import Report
from sweeperd.sweep.runner import Runner

LOOP_SECONDS = 60.0
EXPIRED = "expires_at <= $1"


@dataclass
class Measured:
    """One peer's run.

    Attributes:
        rows: Rows deleted.
        seconds: Wall time, connecting included.
        wal: Bytes of WAL.
        batches: Seconds of each batch, at the server where its log was read; sweeperd's only.
        note: What else should be said.
    """

    rows: int
    seconds: float
    wal: int
    batches: list[float] = field(default_factory=list)
    note: str = ""

    @property
    def rate(self) -> float:
        return self.rows / self.seconds


@asynccontextmanager
async def _timed(dsn: str) -> AsyncIterator[tuple[Any, Measured]]:
    """Measure time and WAL around what happens inside."""
    watcher = await asyncpg.connect(dsn)
    before = await watcher.fetchval("SELECT pg_current_wal_insert_lsn()::text")
    measured = Measured(0, 0.0, 0)
    begun = time.perf_counter()
    yield watcher, measured
    measured.seconds = measured.seconds or time.perf_counter() - begun
    measured.wal = int(
        await watcher.fetchval(
            "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), $1::text::pg_lsn)", before
        )
    )
    await watcher.close()


async def sweeperd(dsn: str, **keys: Any) -> Measured:
    """Run one sweep; only what a case is about is set, the rest are the defaults."""
    given: dict[str, Any] = {"table": "public.t", "column": "expires_at", "keep": timedelta(0)}
    sweep = SweepConfig(name="bench", database="app", timeout=timedelta(hours=1), **(given | keys))
    database = Database(DatabaseConfig(name="app", dsn=dsn))
    report = Report("bench", "bench-run")
    async with _timed(dsn) as (_, measured):

        def hear(event: Event) -> None:
            if isinstance(event, BatchCommitted):
                measured.batches.append(event.seconds)

        await run_once(
            Runner(sweep, database, SystemClock(), listener=hear),
            report,
            RunOptions(released=GUARD_KEYS),
            timeout=3600,
            clock=SystemClock(),
        )
    measured.rows = report.deleted_count
    measured.note = "" if report.outcome == "drained" else f"{report.outcome}: {report.end_reason}"
    return measured


async def one_delete(dsn: str, statement: str = f"DELETE FROM t WHERE {EXPIRED}") -> Measured:
    """Run the DELETE that everybody writes."""
    async with _timed(dsn) as (_, measured):
        connection = await asyncpg.connect(dsn)
        cutoff = await connection.fetchval("SELECT clock_timestamp()")
        tag = await connection.execute(statement, cutoff, timeout=None)
        await connection.close()
    measured.rows = int(tag.rpartition(" ")[2])
    return measured


async def textbook_loop(dsn: str) -> Measured:
    """Delete 10,000 rows at a time by ctid, until none is left or a minute is over."""
    async with _timed(dsn) as (_, measured):
        connection = await asyncpg.connect(dsn)
        cutoff = await connection.fetchval("SELECT clock_timestamp()")
        end = time.perf_counter() + LOOP_SECONDS
        rows = -1
        while rows and time.perf_counter() < end:
            tag = await connection.execute(
                f"DELETE FROM t WHERE ctid IN (SELECT ctid FROM t WHERE {EXPIRED} LIMIT 10000)",
                cutoff,
                timeout=None,
            )
            rows = int(tag.rpartition(" ")[2])
            measured.rows += rows
        if rows:
            measured.note = "stopped after 60 s"
        await connection.close()
    return measured


@asynccontextmanager
async def held_snapshot(dsn: str, *, held: bool) -> AsyncIterator[None]:
    """Hold an old snapshot open, as a forgotten transaction does."""
    if not held:
        yield
        return
    connection = await asyncpg.connect(dsn)
    transaction = connection.transaction(isolation="repeatable_read")
    await transaction.start()
    await connection.fetchval("SELECT count(*) FROM pg_class")
    try:
        yield
    finally:
        await transaction.rollback()
        await connection.close()
