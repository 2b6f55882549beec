"""The restore that the documents show brings each value back, whatever its type."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import TestDatabase
from tests.parts import need
from tests.sweep.test_file_archive import ROWS, archived, files
from tests.sweep.test_versions_of_rows import between

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "archives.md"
ODD = r"""
CREATE TYPE mood AS ENUM ('sad', 'h"app,y');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TYPE point3 AS (x numeric, "odd Name" text[], j json);
CREATE TABLE t (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, expires_at timestamptz, "Odd ""Name" text,
  gone int, b bytea, a int[], aa text[][], n numeric, nn numeric(12, 3), f float8, f4 float4,
  ts timestamp, d date, i interval, r tstzrange, nr nummultirange, j json, jb jsonb, c point3,
  cc point3[], m mood, p positive, ch char(5), bits bit(3), u uuid, ip inet, flag bool,
  s text, lsn pg_lsn, line point3, "row" int, twice bigint GENERATED ALWAYS AS (id * 2) STORED);
ALTER TABLE t DROP gone;
INSERT INTO t (expires_at) VALUES (now() - interval '1 hour');
INSERT INTO t (expires_at, "Odd ""Name", b, a, aa, n, nn, f, f4, ts, d, i, r, nr, j, jb, c, cc, m,
  p, ch, bits, u, ip, flag, s, lsn)
VALUES (now() - interval '1 hour', E'line\nbreak', '\x00ff5c', '[0:2]={1,NULL,3}',
  '{{"a,b","NULL"},{NULL,""}}', 'NaN', 1.500, '-Infinity', 1.1, 'infinity', '0044-03-15 BC',
  '1 mon -2 days 00:00:00.000001', '[2026-01-01 10:00:00.000001+00,infinity)', '{[1,2),(3,]}',
  E'{"a": 1,\n  "a": 2.50, "n": null}', '{"z": [1, null]}', ROW(1.10, '{x,NULL}', 'null'),
  ARRAY[ROW(NULL, '{}', '"q"')::point3, NULL], 'h"app,y', 7, 'ab', '101', gen_random_uuid(),
  '10.0.0.1/8', true, '', '16/B374D848'),
 ('2001-02-03 04:05:06.789012+00', NULL, '', '{}', '{}',
  123456789012345678901234567890.123456789012345678901234567890, 0, 0.1::float8 + 0.2, '-0',
  '1999-12-31 23:59:59.999999', '-infinity', '-00:00:01', 'empty', '{}', 'null', 'null',
  ROW(NULL, NULL, NULL), '{}', 'sad', NULL, '     ', '000', NULL, '::1', false,
  E'\u2028\u00e9\t\\"', NULL);
INSERT INTO t (expires_at) VALUES (now() + interval '1 hour');
CREATE TABLE before AS TABLE t;
"""


def documented_script(directory: Path) -> Path:
    script = directory / "restore.sql"
    found = re.search(r"(?s)```sql\n(.*?)```", DOCUMENT.read_text())
    assert found
    script.write_text(found[1])
    return script


async def restore(database: TestDatabase, path: Path, script: Path) -> tuple[int | None, bytes]:
    """Run the documents' commands, with this file and this database."""
    found = re.search(r"(?s)```\nsha256sum .*?\n(.*?)```", DOCUMENT.read_text())
    assert found
    commands = (
        found[1]
        .replace("audit_log.jsonl.gz", str(path))
        .replace("public.audit_log", "public.t")
        .replace("restore.sql", str(script))
    )
    done = await asyncio.create_subprocess_shell(
        commands,
        cwd=script.parent,
        env={**os.environ, "DSN": database.dsn, "PSQLRC": "/dev/null"},
        stderr=subprocess.PIPE,
    )
    _, words = await done.communicate()
    return done.returncode, words


@need("postgres15")
async def test_the_documented_restore_leaves_out_the_rows_that_stayed(
    database: TestDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Into a table without a key, where nothing else would keep them out."""
    await database.execute(ROWS + "ALTER TABLE t DROP CONSTRAINT t_pkey")

    async def renew() -> None:
        await database.execute("UPDATE t SET expires_at = now() + interval '1 h' WHERE id < 40")

    between(monkeypatch, renew)
    report = await archived(database, tmp_path)
    (path,) = files(tmp_path)

    code, words = await restore(database, path, documented_script(tmp_path))

    assert (report.outcome, code, words) == ("drained", 0, b"")
    assert await database.fetchval("SELECT count(*) FROM t") == 400
    assert await database.fetchval("SELECT count(DISTINCT id) FROM t") == 400


@need("postgres15")
@pytest.mark.every_server
async def test_the_documented_restore_brings_each_value_back_exactly(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(ODD)
    await database.execute(
        f"ALTER DATABASE {database.name} SET DateStyle = 'SQL, DMY';"
        f"ALTER DATABASE {database.name} SET extra_float_digits = -5;"
        f"ALTER DATABASE {database.name} SET IntervalStyle = iso_8601;"
        f"ALTER DATABASE {database.name} SET bytea_output = escape"
    )

    report = await archived(database, tmp_path)

    assert (report.outcome, report.deleted_count) == ("drained", 3), report
    script = documented_script(tmp_path)
    (path,) = files(tmp_path)
    for _ in range(2):  # a second time changes nothing
        assert await restore(database, path, script) == (0, b"")
    # record_image_ne would see other bytes of equal values; text sees what a person would
    differ = await database.fetch(
        "SELECT t::text, before::text FROM t FULL JOIN before USING (id) "
        "WHERE t::text IS DISTINCT FROM before::text OR t.j::text IS DISTINCT FROM before.j::text"
    )
    assert differ == []
    assert await database.fetchval("SELECT count(*) FROM t") == 4
