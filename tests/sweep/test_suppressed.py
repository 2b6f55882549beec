"""A run that left expired rows without an error is not drained, and says why."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from sweeperd.log.event import counted
from tests.conftest import TestDatabase
from tests.sweep.engine import sweep
from tests.sweep.test_leaf_checks import EXPIRED, LEVELS, LIVE, PLAIN, counts, sweeper

TRIGGER = (
    "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} END $$;"
    "CREATE TRIGGER keeper BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION keep();"
)


@pytest.mark.every_server
@pytest.mark.parametrize("table", [PLAIN, LEVELS])
@pytest.mark.parametrize(
    ("body", "left"),
    [
        ("RETURN NULL;", EXPIRED),
        ("RETURN NEW;", EXPIRED),
        ("IF OLD.id % 4 = 0 THEN RETURN NULL; END IF; RETURN OLD;", EXPIRED // 4),
        ("UPDATE t SET parent = 7 WHERE id = OLD.id; RETURN NULL;", EXPIRED),
        ("IF OLD.id = 3 THEN RETURN NULL; END IF; RETURN OLD;", 1),
    ],
)
async def test_a_trigger_that_suppresses_deletes_is_named(
    database: TestDatabase, table: str, body: str, left: int
) -> None:
    await database.execute(table + TRIGGER.format(body))
    role = await sweeper(database)

    report = await sweep(database.dsn_for(role))

    assert report.outcome == "incomplete", report
    assert "BEFORE DELETE trigger keeper suppresses" in str(report.end_reason)
    assert report.deleted_count == EXPIRED - left
    assert (await counts(database)) == (left, LIVE)
    if table == PLAIN:
        assert f"public.t: {counted(left, 'row')} left, without an error" in str(report.end_reason)
    assert report.skipped_count == left


async def test_every_partition_with_suppressed_rows_is_counted(database: TestDatabase) -> None:
    await database.execute(LEVELS + TRIGGER.format("RETURN NULL;"))
    role = await sweeper(database)

    report = await sweep(database.dsn_for(role))

    assert "public.t1: " in str(report.end_reason)
    assert "public.t21: " in str(report.end_reason)


@pytest.mark.parametrize("body", ["RETURN OLD;", "OLD.parent := 3; RETURN OLD;"])
async def test_a_trigger_that_lets_deletes_pass_is_no_trouble(
    database: TestDatabase, body: str
) -> None:
    await database.execute(PLAIN + TRIGGER.format(body))
    role = await sweeper(database)

    report = await sweep(database.dsn_for(role))

    assert (report.outcome, report.deleted_count) == ("drained", EXPIRED)


async def test_rows_that_the_application_adds_behind_the_pass_are_no_trouble(
    database: TestDatabase,
) -> None:
    await database.execute(
        PLAIN
        + TRIGGER.format(
            "IF OLD.id <= 40 THEN INSERT INTO t VALUES"
            " (OLD.id + 1000, NULL, now() - interval '1 day'); END IF; RETURN OLD;"
        )
    )
    role = await sweeper(database)
    await database.execute(f"GRANT INSERT ON t TO {role}")

    report = await sweep(database.dsn_for(role))

    assert report.outcome == "drained", report


@pytest.mark.every_server
@pytest.mark.parametrize("table", [PLAIN, LEVELS])
@pytest.mark.parametrize("index", ["SELECT 1", "CREATE INDEX ON t (expires_at)"])
@pytest.mark.parametrize("strategy", ["index", "heap"])
async def test_rows_that_policies_show_but_do_not_let_delete_are_counted(
    database: TestDatabase, table: str, index: str, strategy: str
) -> None:
    if strategy == "index" and index == "SELECT 1":
        return
    for name in ["t"] if table == PLAIN else ["t1", "t21", "t22"]:
        await database.execute(
            (table if name in {"t", "t1"} else "")
            + f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY;"
            f"CREATE POLICY show ON {name} FOR SELECT USING (true);"
            f"CREATE POLICY go ON {name} FOR DELETE USING (id % 2 = 0);"
        )
    await database.execute(index)
    role = await sweeper(database)

    report = await sweep(database.dsn_for(role), row_security="obey", strategy=strategy)

    assert report.outcome == "incomplete", report
    assert "none lets it delete them" in str(report.end_reason)
    assert (report.deleted_count, report.skipped_count) == (EXPIRED // 2, EXPIRED // 2)
    assert await counts(database) == (EXPIRED // 2, LIVE)


async def test_no_policy_for_delete_at_the_parent_is_told(database: TestDatabase) -> None:
    await database.execute(
        LEVELS + "ALTER TABLE t ENABLE ROW LEVEL SECURITY;"
        "CREATE POLICY show ON t FOR SELECT USING (true); CREATE INDEX ON t (expires_at)"
    )
    role = await sweeper(database)

    report = await sweep(database.dsn_for(role), row_security="obey")

    assert report.outcome == "incomplete", report
    assert "none lets it delete them" in str(report.end_reason)


async def test_suppressed_rows_are_told_with_an_archive(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(
        PLAIN + TRIGGER.format("IF OLD.id > 9 THEN RETURN OLD; END IF; RETURN NULL;")
    )
    await database.execute("CREATE TABLE old (LIKE t)")
    role = await sweeper(database)
    await database.execute(f"GRANT SELECT, INSERT ON old TO {role}")

    report = await sweep(database.dsn_for(role), archive_to="public.old")
    assert (report.outcome, report.deleted_count, report.skipped_count) == ("incomplete", 31, 9)
    report = await sweep(database.dsn_for(role), archive_to="file:old", archives=tmp_path)
    assert (report.outcome, report.deleted_count, report.skipped_count) == ("incomplete", 0, 9)
    assert await database.fetchval("SELECT count(*) FROM old") == 31


HOLD = "NOT EXISTS (SELECT FROM public.hold h WHERE h.id = t.id)"


@pytest.mark.every_server
@pytest.mark.parametrize("where", [None, HOLD])
async def test_suppressed_rows_are_not_taken_for_locked_ones(
    database: TestDatabase, where: str | None
) -> None:
    await database.execute(PLAIN + TRIGGER.format("RETURN NULL;") + "CREATE TABLE hold (id int)")
    role = await sweeper(database)

    report = await sweep(database.dsn_for(role), where=where)

    assert report.outcome == "incomplete", report
    assert "keeper suppresses" in str(report.end_reason)
    assert report.skipped_count == EXPIRED


@pytest.mark.every_server
@pytest.mark.parametrize("where", [None, HOLD])
@pytest.mark.parametrize("more", ["", TRIGGER.format("RETURN OLD;")])
async def test_locked_rows_are_not_taken_for_suppressed_ones(
    database: TestDatabase, where: str | None, more: str
) -> None:
    await database.execute(PLAIN + more + "CREATE TABLE hold (id int)")
    role = await sweeper(database)
    other = await database.connect()
    transaction = other.transaction()
    await transaction.start()
    await other.execute("SELECT FROM t FOR UPDATE")

    report = await sweep(database.dsn_for(role), where=where)

    assert (report.outcome, report.deleted_count) == ("incomplete", 0), report
    assert "locked by other transactions" in str(report.end_reason)
    assert report.skipped_count == EXPIRED
    await transaction.rollback()


@pytest.mark.parametrize("strategy", ["heap", "index"])
async def test_a_leaf_whose_rows_are_only_updated_is_left_after_a_batch(
    database: TestDatabase, strategy: str
) -> None:
    """A soft delete would rewrite all of them in each run; the other partitions go."""
    soft = "IF OLD.id < 20000 THEN UPDATE t SET parent = 7 WHERE id = OLD.id; RETURN NULL; END IF;"
    await database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, parent int, expires_at timestamptz) "
        "PARTITION BY RANGE (id); CREATE INDEX ON t (expires_at);"
        "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (20000);"
        "CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (20000) TO (99999);"
        "INSERT INTO t SELECT g, NULL, now() - g * interval '1 s' FROM generate_series(1, 30000) g;"
        + TRIGGER.format(f"{soft} RETURN OLD;")
    )

    report = await sweep(database.dsn, strategy=strategy, batch_target=timedelta(milliseconds=20))

    assert report.outcome == "incomplete", report
    assert "BEFORE DELETE trigger keeper suppresses" in str(report.end_reason)
    assert await database.fetchval("SELECT count(*) FROM t WHERE id >= 20000") == 0
    assert await database.fetchval("SELECT count(*) FROM t WHERE parent = 7") < 3_000


async def test_some_suppressed_rows_do_not_stop_those_behind(database: TestDatabase) -> None:
    await database.execute(
        PLAIN.replace("40.5", "4000.5").replace("100)", "5000)")
        + TRIGGER.format("IF OLD.id <= 90 OR OLD.id = 2500 THEN RETURN NULL; END IF; RETURN OLD;")
    )

    report = await sweep(database.dsn, max_batch_rows=50)

    assert report.deleted_count == 4000 - 91, report
    assert (report.outcome, report.skipped_count) == ("incomplete", 91)
