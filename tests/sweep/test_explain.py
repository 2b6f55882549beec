"""What the planner makes of each statement: the index is used, under any statistics."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sweeperd.config.models import DatabaseConfig
from sweeperd.host.clock import SystemClock
from sweeperd.postgres.connect import Database
from sweeperd.postgres.sql import bounds
from sweeperd.postgres.sql import rows as sql
from sweeperd.postgres.sql.expired import Key
from sweeperd.postgres.sql.literals import Literals, set_local
from sweeperd.postgres.sql.slices import KeyRange, Slice, TidRange, Tids
from sweeperd.postgres.sql.target import Statement, Target
from sweeperd.postgres.transaction import Frame
from sweeperd.sweep.lanes.bounds import read_bounds
from sweeperd.sweep.survey.survey import survey
from tests.conftest import TestDatabase
from tests.sweep.engine import settings

UNITS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "timestamptz": ("timestamptz", "now() + {}", {}),
    "timestamp": ("timestamp", "now() + {}", {"column_timezone": "UTC"}),
    "date": ("date", "now() + {} * 24", {"column_timezone": "UTC"}),
    "epoch_s": ("bigint", "extract(epoch FROM now() + {})", {"unit": "epoch_s"}),
    "epoch_ms": ("bigint", "extract(epoch FROM now() + {}) * 1000", {"unit": "epoch_ms"}),
    "epoch_us": ("numeric", "extract(epoch FROM now() + {}) * 1000000", {"unit": "epoch_us"}),
    "double": ("double precision", "extract(epoch FROM now() + {})", {"unit": "epoch_s"}),
    "iso8601": (
        "text",
        "to_char((now() + {}) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US')",
        {"unit": "iso8601", "column_timezone": "UTC"},
    ),
}
STATISTICS = {
    "fresh": "ANALYZE t",
    "missing": "SELECT 1",
    # all looked live when the statistics were made
    "stale": "CREATE TABLE keep AS TABLE t; TRUNCATE t; INSERT INTO t SELECT id, pad, "
    "max(expires_at) OVER () FROM keep; ANALYZE t; TRUNCATE t; INSERT INTO t TABLE keep",
    # every row looked expired: a block range would read the whole index
    "hostile": "CREATE TABLE keep AS TABLE t; TRUNCATE t; INSERT INTO t SELECT id, pad, "
    "min(expires_at) OVER () FROM keep; ANALYZE t; TRUNCATE t; INSERT INTO t TABLE keep",
}


async def fill(database: TestDatabase, unit: str, statistics: str, rows: int = 20_000) -> None:
    kind, value, _ = UNITS[unit]
    expiry = value.format(f"(random() - 0.5) * {rows} * interval '1 minute'")
    await database.execute(
        f"CREATE TABLE t AS SELECT g AS id, repeat('x', 100) AS pad, ({expiry})::{kind} "
        f"AS expires_at FROM generate_series(1, {rows}) g"
    )
    await database.execute(STATISTICS[statistics])
    await database.execute("CREATE INDEX by_expiry ON t (expires_at)")
    if statistics != "missing":
        await database.execute("VACUUM t")


async def target_of(database: TestDatabase, unit: str) -> Target:
    config = DatabaseConfig(name="app", dsn=database.dsn)
    async with Database(config).connection() as connection:
        found = await survey(connection, settings(**UNITS[unit][2]), config, SystemClock())
    return found.target


def deletion(target: Target, part: Slice) -> Statement:
    return Statement(sql.delete(target, part, Literals()))


def free(target: Target, part: Slice) -> Statement:
    return Statement(sql.delete_skip_locked(target, part, Literals()))


async def explain(connection: Any, statement: Statement, options: str = "") -> dict[str, Any]:
    text = await connection.fetchval(
        f"EXPLAIN (FORMAT JSON{options}) {statement.text}", *statement.args
    )
    plan: dict[str, Any] = json.loads(text)[0]["Plan"]
    return plan


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan] + [node for inner in plan.get("Plans", []) for node in nodes(inner)]


async def middle(connection: Any, target: Target) -> tuple[Key, Key]:
    """Return the ends of a slice of 100 values, somewhere in the middle."""
    (first, *_) = (await read_bounds(connection, Frame(), target, None, step=3000, count=1)).bounds
    low = first.high
    (second, *_) = (await read_bounds(connection, Frame(), target, low, step=100, count=1)).bounds
    assert low is not None
    assert second.high is not None
    return low, second.high


@pytest.mark.every_server
@pytest.mark.parametrize("statistics", STATISTICS)
@pytest.mark.parametrize("unit", UNITS)
async def test_the_column_is_never_converted_so_the_index_serves(
    database: TestDatabase, unit: str, statistics: str
) -> None:
    await fill(database, unit, statistics)
    target = await target_of(database, unit)
    connection = await database.integer_times()
    low, high = await middle(connection, target)

    slice_plan = nodes(await explain(connection, deletion(target, KeyRange(low, high))))
    async with connection.transaction():
        for name, value in bounds.settings(target, low, step=100, count=16).items():
            await connection.execute(f"SELECT {set_local(name, value)}")
        reading = Statement(bounds.bounds(target, from_start=False))
        walk = nodes(await explain(connection, reading))
    skip_plan = nodes(await explain(connection, free(target, KeyRange(low, high))))

    for plan in (slice_plan, skip_plan):
        conditions = " ".join(str(node.get("Index Cond", "")) for node in plan)
        assert "expires_at >" in conditions, plan
        assert "expires_at <=" in conditions, plan
        assert not any(node["Node Type"] == "Seq Scan" for node in plan)
    scans = [node for node in walk if "Scan" in node["Node Type"] and "Relation Name" in node]
    assert len(scans) == 4  # a slice's end, and the value before it, at first and then again
    for scan in scans:
        assert scan["Node Type"].startswith("Index Only Scan"), walk
        assert "expires_at >" in scan["Index Cond"], walk
    assert not any(node["Node Type"] in {"Sort", "Incremental Sort"} for node in walk[1:]), walk


@pytest.mark.every_server
@pytest.mark.parametrize("statistics", STATISTICS)
@pytest.mark.parametrize("unit", UNITS)
async def test_a_block_range_is_a_tid_range_scan(
    database: TestDatabase, unit: str, statistics: str
) -> None:
    await fill(database, unit, statistics)
    target = await target_of(database, unit)
    connection = await database.integer_times()
    await connection.execute("SET enable_tidscan = on")
    part = TidRange((10, 0), (40, 0))

    for statement in (deletion(target, part), free(target, part)):
        kinds = [node["Node Type"] for node in nodes(await explain(connection, statement))]
        assert "Tid Range Scan" in kinds, kinds
        assert not any(kind in {"Seq Scan", "Index Scan", "Bitmap Heap Scan"} for kind in kinds)

    kinds = [
        node["Node Type"]
        for node in nodes(await explain(connection, deletion(target, Tids(((1, 1), (2, 2))))))
    ]
    assert "Tid Scan" in kinds


async def test_rows_read_by_a_slice_stay_bounded_as_the_backlog_grows(
    database: TestDatabase,
) -> None:
    read: dict[int, int] = {}
    for rows in (20_000, 160_000):
        await database.execute("DROP TABLE IF EXISTS t")
        await fill(database, "timestamptz", "fresh", rows)
        target = await target_of(database, "timestamptz")
        connection = await database.integer_times()
        low, high = await middle(connection, target)
        async with connection.transaction():
            plan = await explain(
                connection,
                deletion(target, KeyRange(low, high)),
                ", ANALYZE, BUFFERS",
            )
        read[rows] = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]

    assert read[160_000] < read[20_000] * 1.5
