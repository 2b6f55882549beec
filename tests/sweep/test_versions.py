"""A whole run on PostgreSQL 14, 16 and 17: the quick part of ``make test-versions``."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tests.conftest import TestDatabase
from tests.sweep.engine import sweep

pytestmark = pytest.mark.other_versions

FILL = (
    "INSERT INTO t SELECT n, now() + (n - 3000) * interval '1 hour' FROM generate_series(1, 6000) n"
)


@pytest.mark.parametrize("strategy", ["index", "heap"])
async def test_a_table_is_drained_and_no_live_row_is_deleted(
    database: TestDatabase, strategy: str
) -> None:
    await database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, expires_at timestamptz);CREATE INDEX ON t (expires_at)"
    )
    await database.execute(FILL)

    report = await sweep(database.dsn, strategy=strategy, max_batch_rows=700)

    assert (report.outcome, report.deleted_count) == ("drained", 3000)
    assert await database.fetchval("SELECT count(*) FROM t WHERE expires_at > now()") == 3000


async def test_partitions_are_swept_and_dropped(database: TestDatabase) -> None:
    await database.execute(
        "CREATE TABLE t (id int, expires_at timestamptz) PARTITION BY RANGE (expires_at);"
        "CREATE TABLE old PARTITION OF t FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');"
        "CREATE TABLE now PARTITION OF t FOR VALUES FROM ('2021-01-01') TO ('2100-01-01');"
        "CREATE TABLE later PARTITION OF t FOR VALUES FROM ('2100-01-01') TO ('2101-01-01')"
    )
    await database.execute("INSERT INTO t VALUES (0, '2020-06-01')")
    await database.execute(FILL)

    report = await sweep(database.dsn, partitions="drop")

    assert report.outcome == "drained"
    assert report.partitions == ["public.old"]
    assert report.deleted_count == 3000
    assert await database.fetchval("SELECT to_regclass('old') IS NULL")


async def test_where_and_archives_work(database: TestDatabase, tmp_path: Path) -> None:
    await database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, expires_at timestamptz);"
        "CREATE TABLE kept (LIKE t); CREATE TABLE hold (id int)"
    )
    await database.execute(FILL)
    await database.execute("INSERT INTO hold VALUES (7)")

    report = await sweep(
        database.dsn,
        where="NOT EXISTS (SELECT FROM public.hold h WHERE h.id = t.id)",
        archive_to="public.kept",
        keep=timedelta(hours=1000),
    )

    assert (report.outcome, report.deleted_count) == ("drained", 1999)
    assert await database.fetchval("SELECT count(*) FROM kept") == 1999
