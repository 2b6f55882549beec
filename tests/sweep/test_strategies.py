"""What auto chooses, why, and what it does when the statistics were wrong."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sweeperd.log.run_events import StrategyChanged, Waiting
from sweeperd.sweep.lanes.heap import pointers_per_page
from sweeperd.sweep.outcome.memory import SweepMemory
from tests.conftest import TestDatabase
from tests.sweep.engine import Heard, sweep

LEAVES = (
    "CREATE TABLE t (id int, expires_at timestamptz) PARTITION BY RANGE (id);"
    "CREATE TABLE d PARTITION OF t DEFAULT PARTITION BY LIST (id);"
    "CREATE TABLE dd PARTITION OF d DEFAULT;"
    "DO $$ BEGIN FOR i IN 0..9 LOOP EXECUTE format('CREATE TABLE t%s PARTITION OF t FOR VALUES "
    "FROM (%s) TO (%s)', i, i * 100, i * 100 + 100); END LOOP; END $$;"
    "INSERT INTO t SELECT g, now() + CASE WHEN g % 3 = 0 THEN 1 ELSE -1 END * interval '1 hour' "
    "FROM generate_series(0, 1499) g"
)


async def fill(database: TestDatabase, seen: str, true: str, rows: int = 60_000) -> None:
    """Make a table whose statistics were taken when expires_at was something else."""
    for expiry in (seen, true):
        await database.execute(
            "DROP TABLE IF EXISTS copy; CREATE TABLE IF NOT EXISTS t (id int PRIMARY KEY, "
            "expires_at timestamptz, pad text); TRUNCATE t; INSERT INTO t SELECT g, "
            f"now() + {expiry} * interval '1 hour', repeat('x', 100) "
            f"FROM generate_series(1, {rows}) g"
        )
        if expiry == seen:
            await database.execute(
                "CREATE INDEX IF NOT EXISTS by_expiry ON t (expires_at); ANALYZE t"
            )


async def test_few_expired_rows_go_by_the_index(database: TestDatabase) -> None:
    spread = "(CASE WHEN g % 1000 = 0 THEN -1 ELSE 1 END)"
    await fill(database, spread, spread)

    report = await sweep(database.dsn)

    assert (report.strategy, report.deleted_count) == ("index", 60)
    assert "by_expiry finds them" in str(report.plan[0])


async def test_a_backlog_goes_by_block_ranges(database: TestDatabase) -> None:
    await fill(database, "(g - 30000)", "(g - 30000)")

    report = await sweep(database.dsn)

    assert (report.strategy, report.deleted_count) == ("heap", 30000)
    assert "a backlog" in str(report.plan[0])


async def test_an_unforeseen_backlog_changes_to_block_ranges(database: TestDatabase) -> None:
    await fill(database, "1", "(g - 59000)")
    heard = Heard()

    report = await sweep(database.dsn, heard=heard, max_batch_rows=2000)

    assert (report.strategy, report.deleted_count) == ("heap+index", 59000)
    assert "statistics told of about" in heard.of(StrategyChanged)[0].reason
    assert report.outcome == "drained"


async def test_a_backlog_that_is_none_changes_to_the_index(database: TestDatabase) -> None:
    await fill(database, "-1", "(CASE WHEN g > 59990 THEN -1 ELSE 1 END)")
    heard = Heard()

    # a first batch that tells enough, and leaves most of the table to decide about
    learned = SweepMemory(batch_sizes={"heap": 300 * pointers_per_page(8192)})
    report = await sweep(database.dsn, heard=heard, memory=learned, max_batch_rows=100_000)

    assert (report.strategy, report.deleted_count) == ("heap+index", 10)
    assert heard.of(StrategyChanged)[0].strategy == "index"


async def test_without_statistics_it_works(database: TestDatabase) -> None:
    await database.execute(
        "CREATE TABLE t AS SELECT g AS id, now() + (g - 500.5) * interval '1 hour' AS expires_at "
        "FROM generate_series(1, 1000) g; CREATE INDEX ON t USING brin (expires_at);"
        "CREATE INDEX ON t (expires_at) WHERE id > 3; CREATE INDEX ON t (id, expires_at)"
    )

    report = await sweep(database.dsn)

    assert (report.strategy, report.deleted_count) == ("heap", 500)
    assert "no index leads with expires_at" in str(report.plan[0])


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("batch", [1, 7, 50_000])
async def test_small_leaves_share_batches_and_lose_nothing(
    database: TestDatabase, workers: int, batch: int
) -> None:
    await database.execute(LEAVES)

    report = await sweep(database.dsn, workers=workers, max_batch_rows=batch)

    left = await database.fetchval("SELECT count(*) FROM t WHERE id % 3 = 0")
    assert (report.outcome, report.deleted_count, left) == ("drained", 1000, 500)
    assert await database.fetchval("SELECT count(*) FROM t") == 500
    if batch > 1000:
        assert report.batches < 11


async def test_a_chain_resumes_in_the_leaf_where_it_stopped(database: TestDatabase) -> None:
    await database.execute(LEAVES)
    memory = SweepMemory()
    counts = []
    for _ in range(20):
        report = await sweep(database.dsn, memory=memory, max_rows=90)
        counts.append(report.deleted_count)
        if report.outcome == "drained":
            break

    assert sum(counts) == 1000
    assert len(counts) <= 13
    assert await database.fetchval("SELECT count(*) FROM t") == 500


async def test_poison_and_locks_in_leaves_stop_neither_the_leaf_nor_the_others(
    database: TestDatabase,
) -> None:
    await database.execute(LEAVES)
    await database.execute(
        "CREATE FUNCTION no() RETURNS trigger AS $$ BEGIN IF OLD.id IN (7, 404, 1400) THEN "
        "RAISE 'not this one'; END IF; RETURN OLD; END $$ LANGUAGE plpgsql;"
        "CREATE TRIGGER no BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION no()"
    )
    holder = await database.connect()
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("SELECT FROM t WHERE id IN (205, 808) FOR UPDATE")

    report = await sweep(database.dsn)
    await transaction.rollback()

    left = {row["id"] for row in await database.fetch("SELECT id FROM t WHERE id % 3 > 0")}
    assert left == {7, 404, 1400, 205, 808}
    assert (report.deleted_count, report.skipped_count) == (995, 5)


async def test_a_large_heap_that_yields_little_is_read_slowly(database: TestDatabase) -> None:
    # 64 MB of shared buffers: more than 16 MB is a large table, 8 MB/s the budget
    await database.execute(
        "CREATE TABLE t (id int, expires_at timestamptz, pad text);"
        "ALTER TABLE t ALTER pad SET STORAGE PLAIN;"
        "INSERT INTO t SELECT g, now() + (g % 1000 - 1) * interval '1 hour', repeat('x', 900) "
        "FROM generate_series(1, 24000) g; ANALYZE t"
    )
    heard = Heard()

    report = await sweep(database.dsn, heard=heard, timeout=timedelta(seconds=60))

    assert report.outcome == "drained"
    assert report.waited_seconds["read_budget"] > 1
    assert "MB/s" in str(report.plan[0])
    assert any(event.reason == "read_budget" for event in heard.of(Waiting))


async def test_grants_missing_on_one_leaf_send_the_sweep_through_the_parent(
    database: TestDatabase,
) -> None:
    await database.execute(LEAVES + "; CREATE INDEX ON t (expires_at)")
    role = await database.role()
    await database.execute(f'GRANT SELECT, UPDATE, DELETE ON t TO "{role}"')

    report = await sweep(database.dsn_for(role))

    assert (report.outcome, report.strategy) == ("drained", "index")
    assert report.deleted_count == 1000


async def test_a_statement_trigger_on_the_parent_fires(database: TestDatabase) -> None:
    await database.execute(
        LEAVES + "; CREATE INDEX ON t (expires_at); CREATE TABLE seen (n int);"
        "CREATE FUNCTION note() RETURNS trigger AS $$ BEGIN INSERT INTO seen VALUES (1); "
        "RETURN NULL; END $$ LANGUAGE plpgsql;"
        "CREATE TRIGGER note AFTER DELETE ON t FOR EACH STATEMENT EXECUTE FUNCTION note()"
    )

    report = await sweep(database.dsn)

    assert (report.outcome, report.deleted_count) == ("drained", 1000)
    assert await database.fetchval("SELECT count(*) FROM seen") >= 1


async def test_few_expired_rows_need_few_batches_however_small_the_limit(
    database: TestDatabase,
) -> None:
    """Not each row of the table is taken for an expired one."""
    await database.execute(
        "CREATE TABLE t (id int, expires_at timestamptz);"
        "INSERT INTO t SELECT g, now() + CASE WHEN g % 4000 = 0 THEN -1 ELSE 1 END "
        "* interval '1 hour' FROM generate_series(1, 200000) g; ANALYZE t"
    )

    report = await sweep(database.dsn, strategy="heap", max_batch_rows=10)

    assert (report.outcome, report.deleted_count) == ("drained", 50)
    assert report.batches < 300


async def test_a_where_that_few_rows_satisfy_does_not_make_a_backlog_worth_slices(
    database: TestDatabase,
) -> None:
    """A slice of the index reads each row whose column is past."""
    await database.execute(
        "CREATE TABLE t (id int, expires_at timestamptz);"
        "INSERT INTO t SELECT g, now() - g * interval '1 s' FROM generate_series(1, 100000) g;"
        "CREATE INDEX ON t (expires_at); ANALYZE t"
    )

    report = await sweep(database.dsn, where="id % 500 = 0")

    assert (report.outcome, report.deleted_count, report.strategy) == ("drained", 200, "heap")
