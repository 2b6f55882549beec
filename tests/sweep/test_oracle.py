"""The rows left equal the rows a Python model keeps, whatever strategy and batch size."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sweeperd.log.run_events import BatchCommitted
from sweeperd.sweep.outcome.memory import SweepMemory
from tests.conftest import TestDatabase
from tests.sweep.engine import Heard, sweep
from tests.sweep.model import is_expired

quick = hypothesis_settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
TYPES: dict[str, tuple[str, dict[str, Any]]] = {
    "timestamptz": ("timestamptz", {}),
    "timestamp": ("timestamp", {"column_timezone": "Europe/Berlin"}),
    "date": ("date", {"column_timezone": "Asia/Tokyo"}),
    "epoch_s": ("integer", {"unit": "epoch_s"}),
    "epoch_ms": ("bigint", {"unit": "epoch_ms"}),
    "epoch_us": ("numeric", {"unit": "epoch_us"}),
    "iso8601": ("text", {"unit": "iso8601", "column_timezone": "UTC"}),
}


def value_of(unit: str, now: datetime, seconds: int) -> Any:
    at = now + timedelta(seconds=seconds)
    zones = {"timestamp": "Europe/Berlin", "date": "Asia/Tokyo"}
    if unit == "timestamptz":
        return at
    if unit in zones:
        from zoneinfo import ZoneInfo  # noqa: PLC0415 - two lines' use

        local = at.astimezone(ZoneInfo(zones[unit])).replace(tzinfo=None)
        return local if unit == "timestamp" else local.date()
    if unit == "iso8601":
        return random.Random(seconds).choice(
            [at.isoformat(), at.replace(microsecond=0).isoformat(), f"{at:%Y-%m-%d %H:%M:%S}Z"]
        )
    scale = {"epoch_s": 1, "epoch_ms": 1_000, "epoch_us": 1_000_000}[unit]
    return int(at.timestamp() * scale)


async def fill(database: TestDatabase, unit: str, values: list[Any], *, index: bool) -> None:
    kind = TYPES[unit][0]
    await database.execute("DROP TABLE IF EXISTS t")
    await database.execute(f"CREATE TABLE t (id int PRIMARY KEY, expires_at {kind}, pad text)")
    if index:
        await database.execute("CREATE INDEX ON t (expires_at)")
    connection = await database.first()
    await connection.executemany(
        f"INSERT INTO t VALUES ($1, $2::{kind}, repeat('x', 40))", list(enumerate(values))
    )
    await connection.execute("ANALYZE t")


@pytest.mark.every_server
@pytest.mark.parametrize("strategy", ["heap", "index"])
@pytest.mark.parametrize("unit", TYPES)
@quick
@given(
    seconds=st.lists(
        st.integers(-200_000, 200_000).filter(lambda s: abs(s) > 60) | st.sampled_from([-90, -99]),
        max_size=120,
    ),
    batch=st.sampled_from([1, 2, 7, 50_000]),
    nulls=st.integers(0, 3),
)
async def test_rows_left_are_those_the_model_keeps(
    database: TestDatabase,
    unit: str,
    strategy: str,
    seconds: list[int],
    batch: int,
    nulls: int,
) -> None:
    now = datetime.now(UTC)
    values = [value_of(unit, now, offset) for offset in seconds] + [None] * nulls
    await fill(database, unit, values, index=strategy == "index")

    report = await sweep(database.dsn, strategy=strategy, max_batch_rows=batch, **TYPES[unit][1])

    assert report.outcome == "drained", report
    assert report.cutoff_time is not None
    kind, given_settings = TYPES[unit]
    zone = given_settings.get("column_timezone")
    kept = {
        number
        for number, value in enumerate(values)
        if not is_expired(unit, kind, value, report.cutoff_time, zone)
    }
    assert {row["id"] for row in await database.fetch("SELECT id FROM t")} == kept
    assert report.deleted_count == len(values) - len(kept)


@pytest.mark.parametrize("workers", [2, 3])
async def test_several_workers_leave_the_same_rows(database: TestDatabase, workers: int) -> None:
    await database.execute(
        "CREATE TABLE t AS SELECT g AS id, now() + (g % 7 - 3) * interval '1 hour' AS expires_at, "
        "repeat('x', 200) AS pad FROM generate_series(1, 20000) g"
    )

    report = await sweep(database.dsn, strategy="heap", workers=workers, max_batch_rows=777)

    left = await database.fetchval(
        "SELECT count(*) FROM t WHERE expires_at <= $1", report.cutoff_time
    )
    assert (left, report.outcome) == (0, "drained")
    assert await database.fetchval("SELECT count(*) FROM t") == 20000 - report.deleted_count


async def test_keep_moves_the_bound_by_seconds(database: TestDatabase) -> None:
    await database.execute(
        "CREATE TABLE t AS SELECT g AS id, now() - g * interval '1 hour' AS expires_at "
        "FROM generate_series(1, 100) g"
    )

    await sweep(database.dsn, keep=timedelta(hours=50, minutes=30))

    assert await database.fetchval("SELECT max(id) FROM t") == 50


async def test_one_value_in_300_000_rows_goes_in_small_batches(database: TestDatabase) -> None:
    await database.execute(
        "CREATE TABLE t AS SELECT g AS id, now() - interval '1 day' AS expires_at "
        "FROM generate_series(1, 300000) g; INSERT INTO t VALUES (0, now() + interval '1 day'); "
        "CREATE INDEX ON t (expires_at); ANALYZE t"
    )
    heard = Heard()

    report = await sweep(database.dsn, strategy="index", max_batch_rows=5000, heard=heard)

    assert report.deleted_count == 300_000
    assert max(batch.rows for batch in heard.of(BatchCommitted)) <= 5000
    assert await database.fetchval("SELECT count(*) FROM t") == 1


async def test_a_row_with_the_ctid_of_an_expired_one_in_another_partition_stays(
    database: TestDatabase,
) -> None:
    await database.execute(
        "CREATE TABLE t (k int, expires_at timestamptz) PARTITION BY LIST (k);"
        "CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1);"
        "CREATE TABLE t2 PARTITION OF t FOR VALUES IN (2) PARTITION BY LIST (k);"
        "CREATE TABLE t2d PARTITION OF t2 DEFAULT;"
        "INSERT INTO t SELECT 1, now() - interval '1 hour' FROM generate_series(1, 1000);"
        "INSERT INTO t SELECT 2, now() + interval '1 hour' FROM generate_series(1, 5000)"
    )

    report = await sweep(database.dsn)

    assert report.deleted_count == 1000
    assert await database.fetchval("SELECT count(*) FROM t") == 5000


async def test_max_rows_is_never_exceeded_and_the_cursor_is_kept(database: TestDatabase) -> None:
    await database.execute(
        "CREATE TABLE t AS SELECT g AS id, now() - interval '1 hour' AS expires_at "
        "FROM generate_series(1, 10000) g"
    )
    memory = SweepMemory()

    report = await sweep(database.dsn, max_rows=1234, memory=memory)

    assert (report.outcome, report.deleted_count) == ("capped", 1234)
    assert await database.fetchval("SELECT count(*) FROM t") == 10000 - 1234
    assert memory.leaves


async def test_a_batch_of_exactly_one_row_more_makes_two_batches(database: TestDatabase) -> None:
    await database.execute(
        "CREATE TABLE t AS SELECT g AS id, now() - g * interval '1 hour' AS expires_at "
        "FROM generate_series(1, 101) g; CREATE INDEX ON t (expires_at)"
    )

    report = await sweep(database.dsn, strategy="index", max_batch_rows=100)

    assert (report.deleted_count, report.batches) == (101, 2)
