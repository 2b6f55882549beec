"""Rows that foreign keys keep are left out of the statements and counted; all others go, fast."""

from __future__ import annotations

from typing import Any

import pytest

from sweeperd.log.run_events import RowSkipped
from tests.conftest import TestDatabase
from tests.sweep.engine import Heard, sweep

ROWS = (
    "CREATE TABLE t (id int PRIMARY KEY, expires_at timestamptz);"
    "INSERT INTO t SELECT g, now() - interval '1 hour' FROM generate_series(1, 2000) g;"
    "INSERT INTO t VALUES (0, now() + interval '1 hour'); CREATE INDEX ON t (expires_at);"
)
PARTITIONED = (
    "CREATE TABLE t (id int PRIMARY KEY, expires_at timestamptz) PARTITION BY RANGE (id);"
    "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (1000);"
    "CREATE TABLE t2 (expires_at timestamptz, junk int, id int NOT NULL);"
    "ALTER TABLE t2 DROP COLUMN junk;"
    "ALTER TABLE t ATTACH PARTITION t2 FOR VALUES FROM (1000) TO (10000);" + ROWS.partition(";")[2]
)
# each keeps the rows 7, 8 and 1444
KEYS = {
    "restrict": "CREATE TABLE c (t int REFERENCES t ON DELETE RESTRICT);"
    "INSERT INTO c VALUES (7), (8), (1444), (0), (NULL)",
    "deferred": "CREATE TABLE c (t int REFERENCES t DEFERRABLE INITIALLY DEFERRED);"
    "INSERT INTO c VALUES (7), (8), (1444)",
    "two children, of other types": 'CREATE TABLE "C d" ("T" smallint REFERENCES t);'
    "CREATE DOMAIN small AS int; CREATE TABLE child (t small REFERENCES t, t2 int);"
    """INSERT INTO "C d" VALUES (7), (8); INSERT INTO child VALUES (1444)""",
    "a partitioned child": "CREATE TABLE c (t int REFERENCES t) PARTITION BY HASH (t);"
    "CREATE TABLE c0 PARTITION OF c FOR VALUES WITH (MODULUS 2, REMAINDER 0);"
    "CREATE TABLE c1 PARTITION OF c FOR VALUES WITH (MODULUS 2, REMAINDER 1);"
    "INSERT INTO c VALUES (7), (8), (1444)",
    "a child that hides an operator": "CREATE SCHEMA trap; CREATE TABLE c (t int REFERENCES t);"
    "INSERT INTO c VALUES (7), (8), (1444);"
    "CREATE FUNCTION trap.never(int, int) RETURNS boolean LANGUAGE sql AS 'SELECT false';"
    "CREATE OPERATOR trap.= (LEFTARG = int, RIGHTARG = int, FUNCTION = trap.never);"
    "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = trap, pg_catalog, public',"
    " current_database()); END $$",
}


async def left(database: TestDatabase) -> set[int]:
    return {row["id"] for row in await database.fetch("SELECT id FROM public.t")}


@pytest.mark.every_server
@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(("table", "strategy"), [(ROWS, "index"), (PARTITIONED, "heap")])
async def test_referenced_rows_are_counted_and_all_others_go(
    database: TestDatabase, key: str, table: str, strategy: str
) -> None:
    await database.execute(table + KEYS[key])
    heard = Heard()

    report = await sweep(database.dsn, strategy=strategy, heard=heard)

    assert await left(database) == {0, 7, 8, 1444}
    assert (report.outcome, report.deleted_count) == ("drained", 1997), report
    assert (report.kept_referenced, report.skipped_count) == (3, 3)
    assert heard.of(RowSkipped) == []
    assert report.ended().as_fields()["kept_referenced"] == 3


@pytest.mark.other_versions
async def test_a_partitioned_child_of_a_partitioned_parent(database: TestDatabase) -> None:
    await database.execute(PARTITIONED + KEYS["a partitioned child"])

    report = await sweep(database.dsn)

    assert await left(database) == {0, 7, 8, 1444}
    assert (report.outcome, report.kept_referenced) == ("drained", 3), report


async def test_a_key_of_two_columns_compares_both(database: TestDatabase) -> None:
    await database.execute(
        "CREATE TABLE t (a int, b text, expires_at timestamptz, PRIMARY KEY (a, b));"
        "INSERT INTO t SELECT g % 10, g::text, now() - interval '1 h' "
        "FROM generate_series(1, 500) g;"
        'CREATE TABLE c (y text COLLATE "C", x int, FOREIGN KEY (x, y) REFERENCES t);'
        "INSERT INTO c VALUES ('17', 7), (NULL, 3), ('4', NULL)"
    )

    report = await sweep(database.dsn)

    assert [tuple(row) for row in await database.fetch("SELECT a, b FROM t")] == [(7, "17")]
    assert (report.outcome, report.kept_referenced) == ("drained", 1), report


async def test_keys_beside_an_archive_a_lock_and_a_text_that_reads_other_tables(
    database: TestDatabase,
) -> None:
    await database.execute(
        ROWS + KEYS["restrict"] + ";CREATE TABLE gone (LIKE t);"
        "CREATE TABLE other AS SELECT id FROM t; CREATE INDEX ON other (id)"
    )
    holder = await database.connect()
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("SELECT FROM t WHERE id = 600 FOR UPDATE")

    report = await sweep(
        database.dsn,
        archive_to="public.gone",
        where="EXISTS (SELECT FROM public.other o WHERE o.id = t.id AND o.id <> 99)",
    )
    await transaction.rollback()

    assert await left(database) == {0, 7, 8, 99, 600, 1444}
    assert await database.fetchval("SELECT count(*) FROM gone") == report.deleted_count == 1995
    assert (report.outcome, report.kept_referenced, report.skipped_count) == ("incomplete", 3, 4)


async def test_a_child_that_the_role_may_not_read_costs_its_rows_only(
    database: TestDatabase,
) -> None:
    await database.execute(ROWS + KEYS["restrict"])
    role = await database.role()
    await database.execute(f"GRANT SELECT, UPDATE, DELETE ON t TO {role}")
    heard = Heard()

    report = await sweep(database.dsn_for(role), heard=heard)

    assert await left(database) == {0, 7, 8, 1444}
    assert (report.deleted_count, report.skipped_count) == (1997, 3), report
    assert {event.key for event in heard.of(RowSkipped)} == {"id=7", "id=8", "id=1444"}


async def test_a_child_that_is_closed_during_the_run_is_left_out_of_the_statements(
    database: TestDatabase,
) -> None:
    await database.execute(ROWS + KEYS["restrict"])
    role = await database.role()
    await database.execute(
        f"GRANT SELECT, UPDATE, DELETE ON t TO {role}; GRANT SELECT ON c TO {role};"
        "CREATE FUNCTION shut() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN "
        f"REVOKE SELECT ON c FROM {role}; RETURN OLD; END $$;"
        "CREATE TRIGGER shut BEFORE DELETE ON t FOR EACH ROW WHEN (OLD.id = 100) "
        "EXECUTE FUNCTION shut()"
    )

    report = await sweep(database.dsn_for(role), max_batch_rows=500)

    assert await left(database) == {0, 7, 8, 1444}
    assert report.deleted_count == 1997, report


@pytest.mark.parametrize("strategy", ["heap", "index"])
async def test_rows_referenced_meanwhile_are_protected_by_the_key_itself(
    database: TestDatabase, strategy: Any
) -> None:
    """A trigger refers to a row that is deleted later in the same statement."""
    await database.execute(
        ROWS + KEYS["restrict"] + ";CREATE FUNCTION refer() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO c VALUES (101); RETURN OLD; END $$;"
        "CREATE TRIGGER refer BEFORE DELETE ON t FOR EACH ROW WHEN (OLD.id = 100) "
        "EXECUTE FUNCTION refer()"
    )

    report = await sweep(database.dsn, strategy=strategy)

    assert await left(database) >= {0, 7, 8, 1444}
    assert (
        await database.fetchval(
            "SELECT count(*) FROM c LEFT JOIN t ON c.t = t.id "
            "WHERE c.t IS NOT NULL AND t.id IS NULL"
        )
        == 0
    )
    assert report.deleted_count >= 1995, report
