"""The retention lag: the age of the oldest expired row that no whole pass set aside."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sweeperd.config.models import DatabaseConfig
from sweeperd.host.clock import SystemClock
from sweeperd.postgres.connect import Database
from sweeperd.postgres.sql import lag as sql_lag
from sweeperd.postgres.sql.target import Statement
from sweeperd.sweep.outcome.lag import RetentionLag
from sweeperd.sweep.outcome.memory import SweepMemory
from sweeperd.sweep.survey.retention_lag import LagProbe, retention_lag
from sweeperd.sweep.survey.survey import survey
from tests.conftest import TestDatabase
from tests.sweep.engine import settings, sweep

HOUR = 3600.0
# rows that expire every minute, the oldest ten hours ago; what never expires is among them
ROWS = (
    "CREATE TABLE t AS SELECT g AS id, {value} AS expires_at, repeat('x', 100) AS filler "
    "FROM (SELECT g, now() - interval '10 hours' + g * interval '1 minute' AS at "
    "FROM generate_series(0, 1199) g) s;"
)
NEVER = "INSERT INTO t VALUES (-1, {never}, ''), (-2, NULL, '');"
INDEX = "CREATE INDEX ON t (expires_at);"


async def lag_of(dsn: str, memory: SweepMemory | None = None, **given: Any) -> RetentionLag:
    one, config = settings(**given), DatabaseConfig(name="app", dsn=dsn)
    async with Database(config).connection() as connection:
        found = await survey(connection, one, config, SystemClock())
        probe = LagProbe.of(one, found, memory or SweepMemory())
        assert probe is not None
        return await retention_lag(connection, probe)


@pytest.mark.parametrize("index", [INDEX, ""])
@pytest.mark.parametrize(
    ("value", "never", "keys"),
    [
        ("at", "'-infinity'", {}),
        ("(at AT TIME ZONE 'Europe/Berlin')", "'-infinity'", {"column_timezone": "Europe/Berlin"}),
        ("extract(epoch FROM at)::bigint", "0", {"unit": "epoch_s"}),
        ("(extract(epoch FROM at) * 1000)::numeric", "'NaN'", {"unit": "epoch_ms"}),
        ("extract(epoch FROM at)::float8 * 1e6", "'-Infinity'", {"unit": "epoch_us"}),
        (
            'to_char(at AT TIME ZONE \'UTC\', \'YYYY-MM-DD"T"HH24:MI:SS.US"Z"\') COLLATE "C"',
            "'0000-00-00'",
            {"unit": "iso8601"},
        ),
    ],
)
async def test_the_lag_is_the_age_of_the_oldest_expired_row_beyond_keep(
    database: TestDatabase, value: str, never: str, keys: dict[str, Any], index: str
) -> None:
    await database.execute(ROWS.format(value=value) + NEVER.format(never=never) + index)

    lag = await lag_of(database.dsn, keep=timedelta(hours=4), **keys)

    assert lag.seconds == pytest.approx(6 * HOUR, abs=60)
    assert (lag.method, lag.reason) == ("exact", None)
    assert lag.oldest is not None
    assert datetime.now(UTC) - lag.oldest < timedelta(hours=6, minutes=1)


async def test_a_day_ends_at_its_midnight_in_the_columns_zone(database: TestDatabase) -> None:
    await database.execute(
        "CREATE TABLE t AS SELECT ((now() AT TIME ZONE 'Asia/Tokyo')::date - 2) AS expires_at;"
        + INDEX
    )
    midnight = await database.fetchval(
        "SELECT extract(epoch FROM now() - ((now() AT TIME ZONE 'Asia/Tokyo')::date - 1)::timestamp"
        " AT TIME ZONE 'Asia/Tokyo')::float8"
    )

    lag = await lag_of(database.dsn, column_timezone="Asia/Tokyo")

    assert lag.seconds == pytest.approx(midnight, abs=30)


async def test_a_large_table_without_an_index_is_sampled_first_blocks_first(
    database: TestDatabase,
) -> None:
    await database.execute(ROWS.format(value="at"))
    await database.execute(
        "INSERT INTO t SELECT g, now() + interval '1 day', repeat('x', 1000) "
        "FROM generate_series(1, 20000) g"
    )

    lag = await lag_of(database.dsn)

    assert lag.method == "sample"
    assert lag.seconds == pytest.approx(10 * HOUR, abs=60)


async def test_nothing_expired_is_no_lag_and_where_counts(database: TestDatabase) -> None:
    await database.execute(ROWS.format(value="at") + INDEX)

    none = await lag_of(database.dsn, keep=timedelta(days=30))
    some = await lag_of(database.dsn, where="id >= 60")

    assert (none.seconds, none.oldest) == (0.0, None)
    assert some.seconds == pytest.approx(9 * HOUR, abs=60)


async def test_the_oldest_row_of_all_partitions_counts(database: TestDatabase) -> None:
    await database.execute(
        "CREATE TABLE t (id int, expires_at timestamptz) PARTITION BY HASH (id);"
        "CREATE TABLE t0 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 0);"
        "CREATE TABLE t1 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 1);"
        "INSERT INTO t SELECT g, now() - g * interval '1 hour' FROM generate_series(1, 50) g;"
        "CREATE INDEX ON t1 (expires_at)"
    )

    lag = await lag_of(database.dsn)

    assert lag.seconds == pytest.approx(50 * HOUR, abs=60)


async def test_what_a_whole_pass_set_aside_is_no_lag(database: TestDatabase) -> None:
    await database.execute(
        ROWS.format(value="at")
        + INDEX
        + "ALTER TABLE t ADD PRIMARY KEY (id);"
        + "CREATE TABLE child AS SELECT 3 AS id; ALTER TABLE child ADD FOREIGN KEY (id) "
        "REFERENCES t"
    )
    before = await lag_of(database.dsn)

    report = await sweep(database.dsn)
    assert await database.fetchval("SELECT count(*) FROM t WHERE expires_at <= now()") == 1
    later = await lag_of(database.dsn, report.memory)
    other = await lag_of(database.dsn, report.memory, keep=timedelta(minutes=1))

    assert before.seconds == pytest.approx(10 * HOUR, abs=60)
    if report.outcome == "drained":
        assert (later.seconds, later.oldest) == (0.0, None)
        assert report.as_json()["retention_lag_seconds"] == 0.0
    # under other settings it was never looked at
    assert other.seconds == pytest.approx(10 * HOUR, abs=300)


async def test_a_locked_table_is_told_and_waited_for_a_moment_only(database: TestDatabase) -> None:
    await database.execute(ROWS.format(value="at") + INDEX)
    one, config = settings(), DatabaseConfig(name="app", dsn=database.dsn)
    other = await database.connect()
    async with Database(config).connection() as connection:
        found = await survey(connection, one, config, SystemClock())
        probe = LagProbe.of(one, found, SweepMemory())
        assert probe is not None
        async with other.transaction(), asyncio.timeout(10):
            await other.execute("LOCK t")
            lag = await retention_lag(connection, probe)

        assert lag.seconds is None
        assert "lock" in (lag.reason or "")
        assert (await retention_lag(connection, probe)).seconds is not None


async def test_a_run_reports_lag_and_backlog_however_it_ends(database: TestDatabase) -> None:
    await database.execute(ROWS.format(value="at") + INDEX)

    capped = await sweep(database.dsn, max_rows=100)
    sampled = await sweep(database.dsn, max_rows=1, condition="id > 100", column=None, keep=None)
    drained = await sweep(database.dsn)

    assert capped.outcome == "capped"
    assert capped.as_json()["retention_lag_seconds"] == pytest.approx(10 * HOUR, abs=2 * HOUR)
    assert capped.as_json()["backlog_estimate"] == pytest.approx(500, abs=5)
    # a condition tells no age, so the survey's sample is what is known
    assert "retention_lag_seconds" not in sampled.as_json()
    assert sampled.as_json()["backlog_estimate"] == pytest.approx(1098, abs=5)
    fields = drained.as_json()
    assert (fields["retention_lag_seconds"], fields["backlog_estimate"]) == (0.0, 0)


async def test_an_index_that_takes_too_long_gives_way_to_a_sample(
    database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.execute(ROWS.format(value="at") + INDEX)
    slow = Statement("SELECT NULL FROM (SELECT pg_catalog.pg_sleep(60)) AS waited")
    monkeypatch.setattr(sql_lag, "oldest", lambda _: slow)

    async with asyncio.timeout(30):
        lag = await lag_of(database.dsn)

    assert lag.seconds == pytest.approx(10 * HOUR, abs=60)
