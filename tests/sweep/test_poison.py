"""Rows that the database refuses: found, named, stepped over; the others go."""

from __future__ import annotations

import re
from datetime import timedelta

import asyncpg
import pytest

from sweeperd.demo.server import Server
from sweeperd.log.run_events import RowSkipped
from sweeperd.sweep.lanes.heap import HeapLane
from tests.conftest import TestDatabase
from tests.parts import SHARED, need
from tests.sweep.engine import Heard, sweep

ROWS = (
    "CREATE TABLE t (id int PRIMARY KEY, expires_at timestamptz);"
    "INSERT INTO t SELECT g, now() - interval '1 hour' FROM generate_series(1, 500) g;"
    "INSERT INTO t VALUES (0, now() + interval '1 hour');"
    "CREATE INDEX ON t (expires_at);"
)
POISONS = {
    "below a cascade": "CREATE TABLE c (id int PRIMARY KEY, t int REFERENCES t ON DELETE CASCADE);"
    "CREATE TABLE d (c int REFERENCES c DEFERRABLE INITIALLY DEFERRED);"
    "INSERT INTO c SELECT id, id FROM t; INSERT INTO d VALUES (7), (444); CREATE INDEX ON c (t);",
    "trigger": "CREATE FUNCTION no() RETURNS trigger AS $$ BEGIN IF OLD.id IN (7, 444) THEN "
    "RAISE 'not this one'; END IF; RETURN OLD; END $$ LANGUAGE plpgsql;"
    "CREATE TRIGGER no BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION no()",
}


@pytest.mark.every_server
@pytest.mark.parametrize("strategy", ["heap", "index"])
@pytest.mark.parametrize("poison", POISONS)
async def test_refused_rows_are_named_and_all_others_go(
    database: TestDatabase, poison: str, strategy: str
) -> None:
    await database.execute(ROWS + POISONS[poison])
    heard = Heard()

    report = await sweep(database.dsn, strategy=strategy, heard=heard)

    assert {row["id"] for row in await database.fetch("SELECT id FROM t")} == {0, 7, 444}
    assert (report.deleted_count, report.skipped_count) == (498, 2)
    kept = 0 if poison == "trigger" else 2
    assert report.kept_referenced == kept
    assert report.outcome == ("drained" if kept else "incomplete"), report
    (left,) = report.remaining
    assert ("no()" if poison == "trigger" else "foreign key") in left.by
    assert {event.key for event in heard.of(RowSkipped)} == {"id=7", "id=444"}
    assert any("id=7" in warning for warning in report.warnings)


async def test_a_table_where_each_row_fails_is_stepped_over_by_slices(
    database: TestDatabase,
) -> None:
    await database.execute(
        ROWS.replace("500", "20000")
        + "CREATE FUNCTION no() RETURNS trigger AS $$ BEGIN RAISE 'never'; END $$ LANGUAGE plpgsql;"
        "CREATE TRIGGER no BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION no()"
    )
    heard = Heard()

    report = await sweep(database.dsn, heard=heard)

    assert report.outcome == "incomplete"
    assert "10000 rows or more refused by the database: raised in PL/pgSQL function no()" in str(
        report.end_reason
    )
    assert len(heard.of(RowSkipped)) == 10
    assert "never, in PL/pgSQL function no() line 1 at RAISE" in heard.of(RowSkipped)[0].reason


async def test_a_row_whose_where_raises_is_stepped_over(database: TestDatabase) -> None:
    await database.execute(ROWS)

    report = await sweep(database.dsn, where="10 / (id - 7) IS NOT NULL")

    assert {row["id"] for row in await database.fetch("SELECT id FROM t")} == {0, 7}
    assert (report.outcome, report.skipped_count) == ("incomplete", 1)
    assert "division by zero" in str(report.end_reason)


async def test_a_cascade_onto_a_locked_child_steps_over_that_row_only(
    database: TestDatabase,
) -> None:
    await database.execute(
        ROWS + "CREATE TABLE c (id int PRIMARY KEY, t int REFERENCES t ON DELETE CASCADE);"
        "INSERT INTO c SELECT id, id FROM t WHERE id > 0; CREATE INDEX ON c (t)"
    )
    holder = await database.connect()
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("SELECT FROM c WHERE id = 7 FOR UPDATE")

    report = await sweep(database.dsn)
    await transaction.rollback()

    assert {row["id"] for row in await database.fetch("SELECT id FROM t")} == {0, 7}
    assert (report.outcome, report.skipped_count) == ("incomplete", 1)


@need("shared")
async def test_blacklisted_tokens_survive_with_their_deferred_key(database: TestDatabase) -> None:
    schema = (SHARED / "stores" / "drf-simplejwt-blacklist.sql").read_text()
    await database.execute(re.sub(r"(?m)^\\.*$", "", schema))
    await database.execute(
        "INSERT INTO token_blacklist_outstandingtoken (token, expires_at, jti) "
        "SELECT 'x', now() + (g - 900) * interval '1 minute', g FROM generate_series(1, 1000) g;"
        "INSERT INTO token_blacklist_blacklistedtoken (blacklisted_at, token_id) "
        "SELECT now(), id FROM token_blacklist_outstandingtoken WHERE id IN (1, 500, 999)"
    )

    report = await sweep(database.dsn, table="token_blacklist_outstandingtoken")

    left = await database.fetch(
        "SELECT id FROM token_blacklist_outstandingtoken WHERE expires_at <= $1", report.cutoff_time
    )
    assert {row["id"] for row in left} == {1, 500}
    assert (report.outcome, report.kept_referenced, report.skipped_count) == ("drained", 2, 2)


async def test_a_value_that_the_condition_cannot_read_costs_its_own_row_only(
    database: TestDatabase,
) -> None:
    """It appears after the table was sampled; it raises also where the slice's rows are listed."""
    await database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, doc jsonb) WITH (fillfactor = 50);"
        "INSERT INTO t SELECT g, jsonb_build_object('at', '2020-01-01T00:00:00Z') "
        "FROM generate_series(1, 500) g;"
        "CREATE FUNCTION damage() RETURNS trigger AS $$ BEGIN UPDATE t SET doc = "
        """'{"at": "2020-02-31T00:00:00Z"}' WHERE id = 450; RETURN OLD; END $$ LANGUAGE plpgsql;"""
        "CREATE TRIGGER damage BEFORE DELETE ON t FOR EACH ROW WHEN (OLD.id = 1) "
        "EXECUTE FUNCTION damage()"
    )
    heard = Heard()

    report = await sweep(
        database.dsn, heard=heard, column=None, keep=None, column_timezone="UTC",
        max_batch_rows=50, condition="(doc->>'at')::timestamptz < :cutoff",
    )  # fmt: skip

    assert "recursion" not in (report.error or "")
    assert {row["id"] for row in await database.fetch("SELECT id FROM t")} == {450}, report
    assert (report.outcome, report.skipped_count) == ("incomplete", 1)
    assert [event.key for event in heard.of(RowSkipped)] == ["id=450"]


async def test_a_key_that_is_no_text_in_any_encoding_is_named_by_its_ctid(server: Server) -> None:
    admin = await asyncpg.connect(server.dsn())
    try:
        await admin.execute(
            "CREATE DATABASE odd_bytes TEMPLATE template0 ENCODING SQL_ASCII LOCALE 'C'"
        )
        inside = await asyncpg.connect(server.dsn("odd_bytes"))
        await inside.execute(
            "CREATE TABLE t (id text PRIMARY KEY, expires_at timestamptz);"
            "CREATE TABLE c (id text REFERENCES t);"
            "INSERT INTO t SELECT 'k' || g, now() - interval '1 hour' "
            "FROM generate_series(1, 50) g;"
            "INSERT INTO t VALUES (convert_from('\\xe9'::bytea, 'SQL_ASCII'), now() - interval "
            "'1 hour'); INSERT INTO c SELECT id FROM t WHERE length(id) = 1"
        )
        heard = Heard()

        report = await sweep(server.dsn("odd_bytes"), heard=heard)

        assert "recursion" not in (report.error or "")
        assert await inside.fetchval("SELECT count(*) FROM t") == 1, report
        assert (report.outcome, report.skipped_count) == ("incomplete", 1)
        assert heard.of(RowSkipped)[0].key.startswith("ctid=(")
        await inside.close()
    finally:
        await admin.execute("DROP DATABASE IF EXISTS odd_bytes WITH (FORCE)")
        await admin.close()


async def test_an_error_that_is_no_rows_ends_the_run_with_it(
    database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a slice at hand there is nothing to halve, and trying again changes nothing."""
    await database.execute(ROWS)

    def refuse(*_: object) -> None:
        raise asyncpg.DataError("no slice can be made")

    monkeypatch.setattr(HeapLane, "next", refuse)

    report = await sweep(database.dsn, strategy="heap", timeout=timedelta(seconds=20))

    assert report.outcome == "failed"
    assert "no slice can be made" in (report.end_reason or "") + (report.error or "")
