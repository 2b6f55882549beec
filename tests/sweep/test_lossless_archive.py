"""An archive table takes each value as it is, or the sweep says what to ALTER."""

from __future__ import annotations

import re

import pytest

from tests.conftest import TestDatabase
from tests.sweep.engine import sweep

MOOD = "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN price AS numeric(6, 2);"
TABLE = "CREATE TABLE t (id int PRIMARY KEY, expires_at timestamptz, v {source});"
ARCHIVE = "CREATE TABLE a (id bigint, expires_at timestamptz, v {archive});"
ROWS = "INSERT INTO t SELECT g, now() - interval '1 hour', {value} FROM generate_series(1, 3) g;"

LOSSY = [
    ("numeric", "integer", "12.75"),
    ("numeric", "numeric(5, 1)", "12.75"),
    ("numeric(6, 2)", "numeric(6, 3)", "12.75"),
    ("numeric(6, 2)", "numeric(6, 1)", "12.75"),
    ("numeric(4, -2)", "numeric(4, 0)", "123400"),
    ("price", "numeric(7, 1)", "12.75"),
    ("numeric", "price", "12.756"),
    ("numeric", "double precision", "0.1234567890123456789"),
    ("double precision", "real", "0.1::float8 + 0.2"),
    ("double precision", "text", "0.1::float8 + 0.2"),
    ("bigint", "double precision", "9007199254740993"),
    ("bigint", "integer", "7"),
    ("integer", "real", "16777217"),
    ("integer", "numeric(9, 0)", "7"),
    ("timestamptz", "date", "now()"),
    ("timestamptz", "timestamp", "now()"),
    ("timestamptz", "timestamptz(3)", "now()"),
    ("timestamptz(4)", "timestamptz(3)", "now()"),
    ("timestamp", "timestamptz", "now()::timestamp"),
    ("timestamp", "date", "now()::timestamp"),
    ("interval", "interval(0)", "interval '1.5 s'"),
    ("interval", "interval day", "interval '1 day 1.5 s'"),
    ("text", "varchar(20)", "'x'"),
    ("text", "char(20)", "'x'"),
    ("varchar(20)", "varchar(10)", "'x'"),
    ("varchar", "varchar(10)", "'x'"),
    ("varchar(20)", "name", "'x'"),
    ("char(5)", "char(4)", "'x'"),
    ("bit(3)", "bit(2)", "b'101'"),
    ("varbit(9)", "varbit(8)", "b'101'"),
    ("numeric[]", "numeric(5, 1)[]", "ARRAY[12.75]"),
    ("numeric[]", "integer[]", "ARRAY[12.75]"),
    ("json", "jsonb", """'{"a": 1, "a": 2}'"""),
    ("mood", "varchar(3)", "'sad'"),
    ("text", "mood", "'sad'"),
    ("inet", "cidr", "'10.0.0.0/8'"),
    ("bigint", "date", "7"),
]
LOSSLESS = [
    ("smallint", "real", "32767"),
    ("smallint", "numeric(5, 0)", "-32768"),
    ("integer", "double precision", "2147483647"),
    ("integer", "numeric(12, 2)", "-2147483648"),
    ("bigint", "numeric", "9223372036854775807"),
    ("bigint", "numeric(19, 0)", "9223372036854775807"),
    ("bigint", "text", "9223372036854775807"),
    ("oid", "bigint", "4294967295"),
    ("real", "double precision", "1.1"),
    ("numeric(6, 2)", "numeric(7, 3)", "9999.99"),
    ("numeric(4, -2)", "numeric(6, 0)", "999900"),
    ("numeric", "text", "'NaN'"),
    ("price", "numeric(6, 2)", "9999.99"),
    ("numeric(6, 2)", "price", "9999.99"),
    ("timestamptz(3)", "timestamptz(4)", "now()"),
    ("timestamptz", "timestamptz(6)", "now()"),
    ("date", "timestamp(0)", "'infinity'"),
    ("varchar(10)", "varchar(11)", "'x  '"),
    ("varchar(10)", "text", "'x  '"),
    ("text", "varchar", "'x  '"),
    ("char(5)", "text", "'x'"),
    ("char(5)", "char(5)", "'x'"),
    ("bit(3)", "bit varying(3)", "b'101'"),
    ("numeric(5, 1)[]", "numeric(6, 2)[]", "ARRAY[12.7]"),
    ("mood", "text", "'sad'"),
    ("uuid", "text", "'00000000-0000-0000-0000-00000000000a'"),
    ("json", "text", """'{"a": 1,  "a": 2}'"""),
    ("jsonb", "json", """'{"a": 1}'"""),
    ("cidr", "inet", "'10.0.0.0/8'"),
    ("text", 'text COLLATE "C"', "'x'"),
]


@pytest.mark.parametrize(("source", "archive", "value"), LOSSY)
async def test_a_type_that_may_lose_is_refused_and_its_cure_runs_as_printed(
    database: TestDatabase, source: str, archive: str, value: str
) -> None:
    await database.execute(MOOD + TABLE.format(source=source) + ARCHIVE.format(archive=archive))
    await database.execute(ROWS.format(value=value) + "CREATE TABLE before AS TABLE t")

    report = await sweep(database.dsn, archive_to="a")

    assert (report.outcome, report.deleted_count) == ("failed", 0)
    assert "archive public.a may lose or change values of v (" in (report.error or "")
    cure = re.search(r"ALTER TABLE .*", report.error or "")
    assert cure
    await database.execute(cure[0])

    report = await sweep(database.dsn, archive_to="a")

    assert (report.outcome, report.deleted_count) == ("drained", 3), report
    assert await differing(database, source) == []


@pytest.mark.parametrize(("source", "archive", "value"), LOSSLESS)
async def test_a_type_that_is_taken_gives_each_value_back(
    database: TestDatabase, source: str, archive: str, value: str
) -> None:
    await database.execute(MOOD + TABLE.format(source=source) + ARCHIVE.format(archive=archive))
    await database.execute(ROWS.format(value=value) + "CREATE TABLE before AS TABLE t")

    report = await sweep(database.dsn, archive_to="a")

    assert (report.outcome, report.deleted_count) == ("drained", 3), report
    assert await differing(database, source) == []


async def differing(database: TestDatabase, source: str) -> list[object]:
    rows: list[object] = await database.fetch(
        f"SELECT a.v::text, before.v::text AS was FROM a FULL JOIN before ON a.id = before.id "
        f"WHERE a.v::{source}::text IS DISTINCT FROM before.v::text"
    )
    return rows


@pytest.mark.parametrize(
    ("made", "archive_to", "said"),
    [
        (
            "CREATE TABLE t (id int, expires_at timestamptz) PARTITION BY RANGE (expires_at);"
            "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM ('2001-01-01') TO ('2002-01-01');"
            "CREATE TABLE t2 PARTITION OF t DEFAULT;",
            "t2",
            "parts of one partitioned table",
        ),
        (
            "CREATE TABLE whole (id int, expires_at timestamptz) PARTITION BY RANGE (expires_at);"
            "CREATE TABLE t PARTITION OF whole DEFAULT;",
            "whole",
            "parts of one partitioned table",
        ),
        (
            "CREATE TABLE t (id int, expires_at timestamptz);"
            'CREATE TABLE a (LIKE t, "By whom" text NOT NULL);',
            "a",
            'ALTER TABLE public.a ALTER COLUMN "By whom" DROP NOT NULL',
        ),
    ],
)
async def test_an_archive_that_cannot_keep_rows_is_refused_before_the_first_batch(
    database: TestDatabase, made: str, archive_to: str, said: str
) -> None:
    await database.execute(made + "INSERT INTO t VALUES (1, '2001-05-05')")

    report = await sweep(database.dsn, archive_to=archive_to)

    assert (report.outcome, report.deleted_count) == ("failed", 0)
    assert said in (report.error or "")
    assert await database.fetchval("SELECT count(*) FROM t") == 1
