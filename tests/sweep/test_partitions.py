"""Partitions as a whole: what is past goes, what only may be past is swept by rows."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from sweeperd.log.run_events import PartitionDetached, PartitionDropped
from tests.conftest import TestDatabase
from tests.sweep.engine import Heard, sweep

MONTHS = (
    "CREATE TABLE t (id int, expires_at {kind}) PARTITION BY RANGE (expires_at);"
    "CREATE TABLE p_first PARTITION OF t FOR VALUES FROM (MINVALUE) TO ('2001-01-01');"
    "CREATE TABLE p_old PARTITION OF t FOR VALUES FROM ('2001-01-01') TO ('2002-01-01');"
    "CREATE TABLE p_older PARTITION OF t FOR VALUES FROM ('2002-01-01') TO ('2020-01-01') "
    "PARTITION BY RANGE (expires_at);"
    "CREATE TABLE p_inner PARTITION OF p_older FOR VALUES FROM ('2010-01-01') TO ('2011-01-01');"
    "CREATE TABLE p_now PARTITION OF t FOR VALUES FROM ('2020-01-01') TO ('2100-01-01');"
    "CREATE TABLE p_rest PARTITION OF t DEFAULT;"
    "INSERT INTO t VALUES (1, '-infinity'), (2, '2000-05-05'), (3, '2001-05-05'), "
    "(4, '2010-05-05'), (5, '2021-05-05'), (6, '2099-05-05'), (7, 'infinity'), (8, NULL)"
)


async def names(database: TestDatabase) -> set[str]:
    rows = await database.fetch(
        "SELECT relid::regclass::text AS n FROM pg_partition_tree('t') WHERE isleaf"
    )
    return {row["n"] for row in rows}


@pytest.mark.every_server
@pytest.mark.parametrize("kind", ["timestamptz", "timestamp", "date"])
@pytest.mark.parametrize("how", ["detach", "drop"])
async def test_leaves_wholly_past_go_as_a_whole(
    database: TestDatabase, kind: str, how: str
) -> None:
    await database.execute(MONTHS.format(kind=kind))
    keys: dict[str, Any] = {} if kind == "timestamptz" else {"column_timezone": "Europe/Berlin"}
    heard = Heard()

    report = await sweep(database.dsn, partitions=how, heard=heard, **keys)

    assert report.outcome == "drained", report
    assert await names(database) == {"p_first", "p_now", "p_rest"}
    assert {row["id"] for row in await database.fetch("SELECT id FROM t")} == {1, 6, 7, 8}
    assert report.deleted_count == 2
    assert sorted(report.partitions) == ["public.p_inner", "public.p_old"]
    kept = await database.fetchval("SELECT to_regclass('p_old') IS NOT NULL")
    assert kept is (how == "detach")
    assert len(heard.of(PartitionDetached if how == "detach" else PartitionDropped)) == 2


async def test_epoch_partitions_go_too(database: TestDatabase) -> None:
    await database.execute(
        "CREATE TABLE t (id int, expires_at bigint) PARTITION BY RANGE (expires_at);"
        "CREATE TABLE p_zero PARTITION OF t FOR VALUES FROM (0) TO (1000000000);"
        "CREATE TABLE p_old PARTITION OF t FOR VALUES FROM (1000000000) TO (1500000000);"
        "CREATE TABLE p_now PARTITION OF t FOR VALUES FROM (1500000000) TO (9000000000);"
        "INSERT INTO t VALUES (1, 0), (2, 1200000000), (3, 8000000000)"
    )

    await sweep(database.dsn, partitions="drop", unit="epoch_s")

    assert await names(database) == {"p_zero", "p_now"}
    assert {row["id"] for row in await database.fetch("SELECT id FROM t")} == {1, 3}


async def test_while_the_table_is_locked_its_partitions_stay_and_the_others_are_swept(
    database: TestDatabase,
) -> None:
    await database.execute(MONTHS.format(kind="timestamptz"))
    holder = await database.connect()
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("SELECT FROM t")

    report = await sweep(database.dsn, partitions="detach", timeout=timedelta(seconds=20))
    await transaction.rollback()

    assert (report.outcome, report.deleted_count) == ("incomplete", 2), report
    assert {"p_old", "p_inner"} <= await names(database)
    assert [one.leaf for one in report.remaining] == ["public.p_old", "public.p_inner"]
    assert report.left_over


async def test_only_the_owner_may(database: TestDatabase) -> None:
    await database.execute(MONTHS.format(kind="timestamptz"))
    role = await database.role()
    await database.execute(f'GRANT ALL ON ALL TABLES IN SCHEMA public TO "{role}"')

    report = await sweep(database.dsn_for(role), partitions="drop")

    assert report.outcome == "failed"
    assert "needs the owner of public.t" in (report.error or "")
    assert len(await database.fetch("SELECT FROM t")) == 8


async def test_a_pending_detach_is_finalised_first(database: TestDatabase) -> None:
    await database.execute(
        "CREATE TABLE t (id int, expires_at timestamptz) PARTITION BY RANGE (expires_at);"
        "CREATE TABLE p_old PARTITION OF t FOR VALUES FROM ('2001-01-01') TO ('2002-01-01');"
        "CREATE TABLE p_now PARTITION OF t FOR VALUES FROM ('2020-01-01') TO ('2100-01-01');"
        "INSERT INTO t VALUES (1, '2001-05-05'), (2, '2099-05-05')"
    )
    holder = await database.connect()
    transaction = holder.transaction(isolation="repeatable_read")
    await transaction.start()
    await holder.execute("SELECT FROM t")
    other = await database.connect()
    await other.execute("SET statement_timeout = '300ms'")
    with pytest.raises(Exception, match="statement timeout"):
        await other.execute("ALTER TABLE t DETACH PARTITION p_old CONCURRENTLY")
    await transaction.rollback()

    report = await sweep(database.dsn, partitions="drop")

    assert report.outcome == "drained", report
    assert report.partitions == ["public.p_old"]
    assert await database.fetchval("SELECT count(*) FROM pg_inherits WHERE inhdetachpending") == 0
    assert await database.fetchval("SELECT to_regclass('p_old') IS NOT NULL")


async def test_a_table_without_partitions_is_an_error(database: TestDatabase) -> None:
    await database.execute("CREATE TABLE t (id int, expires_at timestamptz)")

    report = await sweep(database.dsn, partitions="drop")

    assert "is not partitioned" in (report.error or "")
