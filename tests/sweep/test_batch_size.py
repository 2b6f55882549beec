"""How many batches a real table takes, where each is dear or may delete but few rows."""

from __future__ import annotations

from tests.conftest import TestDatabase
from tests.sweep.engine import sweep

DEAR = (
    "CREATE TABLE t (id int PRIMARY KEY, expires_at timestamptz);"
    "INSERT INTO t SELECT g, now() + (g - 60000.5) * interval '1 minute' "
    "FROM generate_series(1, 60000) g;"
    "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN PERFORM pg_catalog.pg_sleep(0.08); RETURN NULL; END $$;"
    "CREATE TRIGGER dear AFTER DELETE ON t FOR EACH STATEMENT EXECUTE FUNCTION wait();"
    "ANALYZE t"
)
FEW = (
    "CREATE TABLE t (id int PRIMARY KEY, expires_at timestamptz);"
    "INSERT INTO t SELECT g, now() + CASE WHEN g % 9000 = 0 THEN -1 ELSE 1 END * interval '1 day' "
    "FROM generate_series(1, 60000) g; ANALYZE t"
)


async def test_a_trigger_that_takes_the_target_by_itself_makes_batches_larger(
    database: TestDatabase,
) -> None:
    await database.execute(DEAR)

    report = await sweep(database.dsn, strategy="heap")

    assert (report.outcome, report.deleted_count) == ("drained", 60_000)
    assert report.batches < 60, "batches of the first size would be more than 100"


async def test_a_low_rate_limit_makes_few_batches_where_few_rows_are_expired(
    database: TestDatabase,
) -> None:
    await database.execute(FEW)

    report = await sweep(database.dsn, rate_limit=10)

    assert (report.outcome, report.deleted_count) == ("drained", 6)
    assert report.batches < 60, "batches of ten rows would be thousands"
