"""Whatever is in the way of a delete is stepped over, in any number; all other rows go."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sweeperd.log.run_events import RowSkipped
from sweeperd.sweep.execute import bisect, remaining
from sweeperd.sweep.execute.look import Look
from tests.conftest import TestDatabase
from tests.sweep.engine import Heard, sweep

STATES = ("55000", "0A000", "40001", "42501", "38000", "XX000", "57014", "25006", "53100", "08006",
          "40P01", "55P03", "57P01")  # fmt: skip
ROWS = (
    "CREATE TABLE t (id int PRIMARY KEY, expires_at timestamptz);"
    "INSERT INTO t SELECT g, now() - interval '1 hour' FROM generate_series(1, 2000) g;"
    "CREATE INDEX ON t (expires_at);"
)
TRIGGER = (
    "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} RETURN OLD; END $$;"
    "CREATE TRIGGER no BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION no();"
)
CASCADE = (
    "CREATE TABLE c (t int REFERENCES t ON DELETE CASCADE); INSERT INTO c SELECT id FROM t;"
    "CREATE INDEX ON c (t);"
)


async def left(database: TestDatabase) -> list[int]:
    return [row["id"] for row in await database.fetch("SELECT id FROM t ORDER BY id")]


async def test_an_error_raised_inside_a_trigger_is_a_rows_whatever_its_sqlstate(
    database: TestDatabase,
) -> None:
    numbered = {100 * number: state for number, state in enumerate(STATES, 1)}
    cases = " ".join(
        f"IF OLD.id = {row} THEN RAISE 'no %', OLD.id USING ERRCODE = '{state}', "
        f"HINT = 'ask the owner'; END IF;"
        for row, state in numbered.items()
    )
    audit = "IF OLD.id = 1999 THEN INSERT INTO log VALUES (1); END IF;"
    await database.execute(ROWS + "CREATE TABLE log (id int);" + TRIGGER.format(cases + audit))
    role = await database.role()
    await database.execute(f"GRANT SELECT, UPDATE, DELETE ON t TO {role}")
    heard = Heard()

    report = await sweep(database.dsn_for(role), heard=heard)

    assert await left(database) == [*numbered, 1999], report
    assert report.skipped_count == len(numbered) + 1
    assert len(heard.of(RowSkipped)) == 10
    first = next(event for event in heard.of(RowSkipped) if event.key == "id=100")
    assert "no 100: ask the owner, in PL/pgSQL function no()" in first.reason
    assert report.outcome == "incomplete"
    assert "refused by the database: raised in PL/pgSQL function no()" in str(report.end_reason)


@pytest.mark.parametrize("strategy", ["heap", "index"])
async def test_refused_rows_that_lie_together_do_not_stop_those_behind(
    database: TestDatabase, strategy: str
) -> None:
    await database.execute(
        ROWS + TRIGGER.format("IF OLD.id <= 150 OR OLD.id % 400 = 0 THEN RAISE 'no'; END IF;")
    )

    report = await sweep(database.dsn, strategy=strategy)

    assert await left(database) == [*range(1, 151), *range(400, 2001, 400)]
    assert (report.deleted_count, report.skipped_count) == (1845, 155), report


async def test_when_the_time_for_the_search_is_over_parts_of_slices_are_stepped_over(
    database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bisect, "_SHARE_OF_RUN", 0.0)
    await database.execute(ROWS + TRIGGER.format("IF OLD.id = 90 THEN RAISE 'no'; END IF;"))
    heard = Heard()

    report = await sweep(database.dsn, strategy="heap", heard=heard)

    rows = await left(database)
    assert 90 in rows
    assert len(rows) < 60
    assert report.skipped_count == len(rows), report
    assert heard.of(RowSkipped) == []


async def test_locked_children_of_a_cascade_do_not_stop_the_others(database: TestDatabase) -> None:
    await database.execute(ROWS + CASCADE)
    holder = await database.connect()
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("SELECT FROM c WHERE t <= 300 FOR UPDATE")

    report = await sweep(database.dsn, timeout=timedelta(seconds=60))
    await transaction.rollback()

    assert len(await left(database)) <= 340, report
    assert (report.outcome, report.skipped_count) == ("incomplete", len(await left(database)))


async def test_a_row_that_alone_takes_too_long_is_named_and_the_others_go(
    database: TestDatabase,
) -> None:
    await database.execute(
        ROWS + TRIGGER.format("IF OLD.id = 7 THEN PERFORM pg_sleep(0.3); END IF;")
    )
    heard = Heard()

    report = await sweep(database.dsn, heard=heard, max_statement=timedelta(milliseconds=200))

    assert await left(database) == [7], report
    assert [event.key for event in heard.of(RowSkipped)] == ["id=7"]
    assert "longer than 200 ms (max_statement)" in heard.of(RowSkipped)[0].reason


PARTS = (
    "CREATE TABLE t (id int PRIMARY KEY, expires_at timestamptz) PARTITION BY RANGE (id);"
    "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (1000);"
    "CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (1000) TO (10000);"
    "INSERT INTO t SELECT g, now() - g * interval '1 minute' FROM generate_series(1, 2000) g;"
    "CREATE INDEX ON t (expires_at);"
)


@pytest.mark.parametrize("way", ["without UPDATE", "through the parent"])
async def test_one_locked_and_one_refused_row_stop_nothing(
    database: TestDatabase, way: str
) -> None:
    made = ROWS if way == "without UPDATE" else PARTS
    await database.execute(made + TRIGGER.format("IF OLD.id = 70 THEN RAISE 'no'; END IF;"))
    role = await database.role()
    await database.execute(f"GRANT SELECT, DELETE ON t TO {role}")
    holder = await database.connect()
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("SELECT FROM t WHERE id = 1400 FOR UPDATE")

    report = await sweep(database.dsn_for(role))
    await transaction.rollback()

    assert await left(database) == [70, 1400], report
    assert (report.deleted_count, report.skipped_count) == (1998, 2)


async def test_locked_rows_of_a_large_table_are_counted_without_reading_it_again(
    database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remaining, "_CHEAP_BLOCKS", 0)

    def read_again(*_: object) -> None:
        raise AssertionError("the table is read again")

    monkeypatch.setattr(Look, "at_rows", read_again)
    await database.execute(ROWS)
    holder = await database.connect()
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("SELECT FROM t WHERE id IN (7, 900, 901) FOR UPDATE")

    report = await sweep(database.dsn)
    await transaction.rollback()

    assert await left(database) == [7, 900, 901]
    assert (report.outcome, report.skipped_count) == ("incomplete", 3), report
    assert [(one.reason, one.rows) for one in report.remaining] == [("locked", 3)]
    assert report.left_over


async def test_rows_stepped_over_for_lack_of_time_are_not_taken_for_kept_ones(
    database: TestDatabase,
) -> None:
    """The role cannot read the table that refers, so that each row is searched for."""
    role = await database.role()
    await database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, expires_at timestamptz);"
        "INSERT INTO t SELECT g, now() - interval '1 hour' FROM generate_series(1, 20000) g;"
        "CREATE TABLE child AS SELECT id FROM t WHERE id % 5 = 0;"
        "CREATE INDEX ON child (id); ALTER TABLE child ADD FOREIGN KEY (id) REFERENCES t;"
        f'GRANT SELECT, UPDATE, DELETE ON t TO "{role}"'
    )

    report = await sweep(database.dsn_for(role), timeout=timedelta(seconds=8))

    left = int(await database.fetchval("SELECT count(*) FROM t"))
    assert left > 4_000, "the search was in time: make it harder"
    assert report.outcome in {"incomplete", "timed_out"}
    if report.outcome == "incomplete":
        told = {one.reason: one.rows for one in report.remaining}
        assert told["stepped over"] > 0, told
