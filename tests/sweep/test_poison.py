"""Rows that the database refuses: found, named, stepped over; the others go."""

from __future__ import annotations

import re

import pytest

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
    "restrict": "CREATE TABLE c (t int REFERENCES t ON DELETE RESTRICT);"
    "INSERT INTO c VALUES (7), (444)",
    "deferred": "CREATE TABLE c (t int REFERENCES t DEFERRABLE INITIALLY DEFERRED);"
    "INSERT INTO c VALUES (7), (444)",
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
    assert report.outcome == "failed"
    assert {event["key"] for event in heard.named("row_skipped")} == {"id=7", "id=444"}
    assert any("id=7" in warning for warning in report.warnings)


async def test_a_table_where_each_row_fails_stops_early(database: TestDatabase) -> None:
    await database.execute(
        ROWS.replace("500", "100000")
        + "CREATE FUNCTION no() RETURNS trigger AS $$ BEGIN RAISE 'never'; END $$ LANGUAGE plpgsql;"
        "CREATE TRIGGER no BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION no()"
    )
    heard = Heard()

    report = await sweep(database.dsn, heard=heard)

    assert report.outcome == "failed"
    assert "refuses each row" in (report.error or "")
    assert len(heard.named("row_skipped")) <= 100


async def test_a_row_whose_where_raises_is_stepped_over(database: TestDatabase) -> None:
    await database.execute(ROWS)

    report = await sweep(database.dsn, where="10 / (id - 7) IS NOT NULL")

    assert {row["id"] for row in await database.fetch("SELECT id FROM t")} == {0, 7}
    assert report.skipped_count == 1


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
    assert (report.outcome, report.skipped_count) == ("throttled", 1)


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
    assert report.skipped_count == 2
