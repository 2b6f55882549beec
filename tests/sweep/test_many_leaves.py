"""Partitions as people have them: empty ones at the end, at the start and between."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from sweeperd.sweep.outcome.memory import SweepMemory
from tests.conftest import TestDatabase
from tests.sweep.engine import sweep

PATIENCE = 60.0
# one letter a leaf: e empty, o one row, m a few hundred, l live rows only, x expired and live
SHAPES = (
    "e", "ee", "me", "em", "eme", "mee", "eemee", "meem", "oeeoe", "xexele", "lle", "ell",
    "mmmmmeeee", "eeeemmmmm", "emememeel", "oooooooooe",
)  # fmt: skip


def leaf(number: int, kind: str, parent: str = "t") -> str:
    """Return the statements of one leaf, and of its rows."""
    low, high = f"2020-{number + 1:02}-01", f"2020-{number + 2:02}-01"
    make = f"CREATE TABLE p{number} PARTITION OF {parent} FOR VALUES FROM ('{low}') TO ('{high}');"
    rows = {"e": 0, "o": 1, "m": 400, "l": 50, "x": 400}[kind]
    live = {"l": "true", "x": "g % 2 = 0"}.get(kind, "false")
    fill = (
        f"INSERT INTO t SELECT {number} * 1000 + g, '{low}'::timestamptz + g * interval '1 min', "
        f"{live} FROM generate_series(1, {rows}) g;"
    )
    return make + fill


def table(shape: str) -> str:
    leaves = "".join(leaf(number, kind) for number, kind in enumerate(shape))
    return (
        "CREATE TABLE t (id int, expires_at timestamptz, live bool) "
        f"PARTITION BY RANGE (expires_at);{leaves}"
    )


LIVE = "SELECT count(*) FILTER (WHERE live), count(*) FROM t"


@pytest.mark.every_server
@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("shape", SHAPES)
async def test_wherever_empty_leaves_lie_the_run_ends_and_all_expired_rows_go(
    database: TestDatabase, shape: str, workers: int
) -> None:
    await database.execute(table(shape))
    before, _ = (await database.fetch(LIVE))[0]

    async with asyncio.timeout(PATIENCE):
        report = await sweep(database.dsn, workers=workers, where="NOT live")

    assert report.outcome == "drained", report
    assert tuple((await database.fetch(LIVE))[0]) == (before, before)


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("shape", SHAPES)
async def test_a_pass_in_many_runs_ends_and_leaves_nothing(
    database: TestDatabase, shape: str, workers: int
) -> None:
    """Each run is stopped by max_rows, and another number of workers takes over."""
    await database.execute(table(shape))
    before, whole = (await database.fetch(LIVE))[0]
    memory = SweepMemory()
    deleted = runs = 0
    async with asyncio.timeout(PATIENCE):
        while True:
            report = await sweep(
                database.dsn, workers=1 + (workers + runs) % 3, where="NOT live", max_rows=333,
                max_batch_rows=100, memory=memory,
            )  # fmt: skip
            deleted, runs = deleted + report.deleted_count, runs + 1
            assert runs < 50
            if report.outcome == "drained":
                break
            assert report.outcome == "capped", report

    assert deleted == whole - before
    assert tuple((await database.fetch(LIVE))[0]) == (before, before)
    assert not memory.leaves


async def test_leaves_that_come_go_and_empty_between_runs_lose_nothing(
    database: TestDatabase,
) -> None:
    await database.execute(table("mmmmm"))
    memory = SweepMemory()
    changes = (
        "DROP TABLE p2",
        "TRUNCATE p1",
        leaf(2, "m"),
        "ALTER TABLE t DETACH PARTITION p0",
        "ALTER TABLE t ATTACH PARTITION p0 FOR VALUES FROM ('2020-01-01') TO ('2020-02-01')",
        leaf(7, "e") + leaf(6, "m"),
    )
    async with asyncio.timeout(PATIENCE):
        for change in changes:
            report = await sweep(database.dsn, max_rows=150, memory=memory)
            assert report.outcome == "capped", report
            await database.execute(change)
        while report.outcome == "capped":
            report = await sweep(database.dsn, max_rows=500, memory=memory)

    assert report.outcome == "drained", report
    assert await database.fetchval("SELECT count(*) FROM t") == 0


async def test_leaves_below_several_levels_and_a_default_leaf_are_swept(
    database: TestDatabase,
) -> None:
    await database.execute(
        "CREATE TABLE t (id int, k int, expires_at timestamptz) PARTITION BY LIST (k);"
        "CREATE TABLE a PARTITION OF t FOR VALUES IN (1) PARTITION BY RANGE (expires_at);"
        "CREATE TABLE a1 PARTITION OF a FOR VALUES FROM (MINVALUE) TO ('2020-01-01');"
        "CREATE TABLE a2 PARTITION OF a FOR VALUES FROM ('2020-01-01') TO ('2099-01-01');"
        "CREATE TABLE a3 PARTITION OF a DEFAULT;"
        "CREATE TABLE b PARTITION OF t FOR VALUES IN (2) PARTITION BY HASH (id);"
        "CREATE TABLE b1 PARTITION OF b FOR VALUES WITH (MODULUS 2, REMAINDER 0);"
        "CREATE TABLE b2 PARTITION OF b FOR VALUES WITH (MODULUS 2, REMAINDER 1);"
        "CREATE TABLE c PARTITION OF t FOR VALUES IN (3) PARTITION BY LIST (k);"
        "CREATE TABLE d PARTITION OF t DEFAULT;"
        "INSERT INTO t SELECT g, g % 3, now() - interval '1 hour' FROM generate_series(1, 900) g "
        "WHERE g % 3 <> 0;"
        "INSERT INTO t SELECT g, 1 + g % 2, now() + interval '9 hours' FROM generate_series(1, 9) g"
    )

    for workers in (1, 2, 3):
        async with asyncio.timeout(PATIENCE):
            report = await sweep(database.dsn, workers=workers)
        assert report.outcome == "drained", report

    assert await database.fetchval("SELECT count(*) FROM t") == 9


async def test_other_work_of_the_process_is_not_blocked_while_empty_leaves_are_swept(
    database: TestDatabase,
) -> None:
    await database.execute(table("meemeee"))
    other = await database.connect()

    async def work() -> int:
        done = 0
        while not finished.is_set():
            await other.fetchval("SELECT 1")
            done += 1
        return done

    finished = asyncio.Event()
    busy = asyncio.create_task(work())
    async with asyncio.timeout(PATIENCE):
        report = await sweep(database.dsn, timeout=timedelta(seconds=30))
    finished.set()

    assert report.outcome == "drained"
    assert await busy > 0
