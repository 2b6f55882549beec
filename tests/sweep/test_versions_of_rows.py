"""A file archive's batch deletes the versions of rows whose lines are on disk, and no others."""

from __future__ import annotations

import asyncio
import gzip
import json
import resource
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from sweeperd.log.run_events import RowSkipped
from sweeperd.postgres.catalog import read_columns
from sweeperd.postgres.catalog_reads import CatalogReads
from sweeperd.postgres.sql.expired import Args, Expired
from sweeperd.postgres.sql.rows import delete
from sweeperd.postgres.sql.slices import KeyRange, Versions
from sweeperd.postgres.sql.target import Table, Target
from sweeperd.postgres.transaction import Frame, reading
from sweeperd.sweep.archive.base import ManyRowsError
from sweeperd.sweep.archive.file import FileArchive
from sweeperd.sweep.archive.gzip_file import repair
from sweeperd.sweep.execute.session import Session
from sweeperd.sweep.outcome.memory import SweepMemory
from sweeperd.sweep.outcome.report import Report, RunEndError
from tests.conftest import TestDatabase
from tests.sweep.engine import Heard
from tests.sweep.proxy import Proxy
from tests.sweep.test_file_archive import ROWS, archived, files, kept, left


def lines(directory: Path) -> list[int]:
    return [
        json.loads(line)["id"]
        for path in files(directory)
        for line in gzip.decompress(path.read_bytes()).decode().splitlines()
    ]


async def test_rows_of_two_partitions_with_one_place_and_one_xmin_are_told_apart(
    database: TestDatabase, tmp_path: Path
) -> None:
    """One transaction filled both; a trigger for each statement has them swept as a whole."""
    await database.execute(
        "CREATE TABLE t (id int, expires_at timestamptz) PARTITION BY LIST (id);"
        "CREATE TABLE t0 PARTITION OF t DEFAULT;"
        "CREATE INDEX ON t (expires_at);"
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;"
        "CREATE TRIGGER f AFTER DELETE ON t FOR EACH STATEMENT EXECUTE FUNCTION f();"
        f"CREATE TABLE t1 PARTITION OF t FOR VALUES IN ({', '.join(map(str, range(1, 301)))});"
        "INSERT INTO t SELECT g, '2001-01-01'::timestamptz + g * interval '1 s' "
        "FROM generate_series(1, 600) g; ANALYZE t"
    )

    report = await archived(database, tmp_path, max_batch_rows=50)

    assert (report.outcome, report.deleted_count) == ("drained", 600), report
    assert sorted(lines(tmp_path)) == list(range(1, 601))


def restored(directory: Path) -> list[int]:
    """Return the ids that the documents' command restores."""
    ids: list[int] = []
    for path in files(directory):
        marks = path.with_name(f"{path.name}.stayed")
        script = marks if marks.exists() else Path("/dev/null")
        text = gzip.decompress(path.read_bytes())
        done = subprocess.run(["sed", "-f", script], input=text, capture_output=True, check=True)
        ids += [json.loads(line)["id"] for line in done.stdout.splitlines()]
    return ids


def between(monkeypatch: pytest.MonkeyPatch, work: Callable[[], Awaitable[object]]) -> None:
    """Let something happen after the rows of the first batch were read, before they are deleted."""
    keep, calls = FileArchive.keep, 0

    async def keep_then_work(self: FileArchive, *args: Any) -> Any:
        nonlocal calls
        result = await keep(self, *args)
        calls += 1
        if calls == 1:
            await work()
        return result

    monkeypatch.setattr(FileArchive, "keep", keep_then_work)


async def test_what_stayed_is_marked_so_that_a_restore_is_what_is_gone(
    database: TestDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that are renewed, changed or deleted by others after their lines were written."""
    await database.execute(ROWS)

    async def work() -> None:
        await database.execute(
            "UPDATE t SET expires_at = now() + interval '1 h' WHERE id IN (1, 2, 3, 7);"
            "UPDATE t SET expires_at = expires_at WHERE id = 9; DELETE FROM t WHERE id = 11"
        )

    between(monkeypatch, work)
    report = await archived(database, tmp_path)

    assert report.outcome == "drained", report
    alive = {1, 2, 3, 7, *range(4, 401, 4)}
    assert await left(database) == alive
    assert sorted(restored(tmp_path)) == sorted(set(range(1, 401)) - alive - {11})
    assert report.deleted_count == len(restored(tmp_path))
    (path,) = files(tmp_path)
    told = json.loads(path.with_name(f"{path.name}.manifest.json").read_text())
    assert told["stayed"] == told["count"] - report.deleted_count == 6


async def test_rows_that_others_lock_are_marked_or_not_written(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(ROWS)
    client = await database.connect()
    async with client.transaction():
        await client.execute("SELECT FROM t WHERE id IN (5, 6, 398) FOR UPDATE")
        report = await archived(database, tmp_path)

    gone = set(range(1, 401)) - await left(database)
    assert {5, 6, 398} <= await left(database)
    assert report.skipped_count == 3
    assert sorted(restored(tmp_path)) == sorted(gone)
    assert gone <= set(kept(tmp_path))


async def test_rows_of_a_transaction_id_that_came_around_again_stay(
    database: TestDatabase,
) -> None:
    """The horizon stands for the time of reading: from there on the row's xmin was given out."""
    await database.execute(
        "CREATE TABLE t (id int, at timestamptz); INSERT INTO t VALUES (1, now())"
    )
    (row,) = await database.fetch(
        "SELECT ctid AS place, concat(tableoid, ctid, ' ', xmin) AS version, xmin::text::int8 AS "
        "xmin, pg_snapshot_xmax(pg_current_snapshot())::text::int8 AS now FROM t"
    )
    await database.execute("VACUUM (FREEZE) t")
    target = Target(Table("public", "t"), Expired("at", "timestamptz", 2**62))

    async def goes(horizon: int, version: str = row["version"]) -> bool:
        args = Args()
        text = delete(target, Versions((row["place"],), (version,), horizon), args)
        connection = await database.integer_times()
        transaction = connection.transaction()
        await transaction.start()
        tag = await connection.execute(text, *args)
        await transaction.rollback()
        return bool(tag == "DELETE 1")

    assert await goes(row["now"]), "frozen, and the same"
    assert not await goes(row["xmin"]), "given out since"
    assert not await goes(row["xmin"] - 5)
    assert not await goes(row["now"] - 2**32), "all ids were given out since"
    assert not await goes(row["now"], row["version"].replace("(0,1)", "(0,2)"))


@pytest.mark.parametrize(
    "value", ["repeat(md5(g::text), 1250000)", "decode(repeat('00', 40000000), 'hex')"]
)
async def test_a_row_that_is_too_large_is_named_and_stays_and_memory_has_a_bound(
    database: TestDatabase, tmp_path: Path, value: str
) -> None:
    await database.execute(
        f"CREATE TABLE t AS SELECT g AS id, now() - interval '1 h' AS expires_at, "
        f"CASE WHEN g = 3 THEN {value} END AS v FROM generate_series(1, 5) g;"
        "ALTER TABLE t ADD PRIMARY KEY (id)"
    )
    heard = Heard()
    before = peak()

    report = await archived(database, tmp_path, heard=heard)

    assert (report.deleted_count, report.skipped_count) == (4, 1), report
    assert await left(database) == {3}
    assert sorted(kept(tmp_path)) == [1, 2, 4, 5]
    (skipped,) = {event.key for event in heard.of(RowSkipped)}
    assert skipped in " ".join(report.warnings)
    assert peak() - before < 30 << 20


async def test_a_row_that_is_left_out_hides_none_behind_it(
    database: TestDatabase, tmp_path: Path
) -> None:
    """Of a slice, one row more than a batch may delete is read; those left out are among them."""
    await database.execute(
        "CREATE TABLE t AS SELECT g AS id, '2001-01-01'::timestamptz AS at, "
        "CASE WHEN g < 3 THEN repeat(md5(g::text), 600000) END AS v FROM generate_series(1, 9) g"
    )
    connection = await database.integer_times()
    async with reading(connection):
        oid = await connection.fetchval("SELECT 'public.t'::regclass::oid::bigint")
        columns = await read_columns(CatalogReads(connection), oid)
    archive = FileArchive(tmp_path, "x", columns, {})
    target = Target(Table("public", "t"), Expired("at", "timestamptz", 2**62))

    with pytest.raises(ManyRowsError):
        await archive.keep(connection, Frame(), ((target, KeyRange(None, None)),), 3)
    result = await archive.keep(connection, Frame(), ((target, KeyRange(None, None)),), 9)
    await archive.close()

    assert [row.tid for row in result.too_large] == [(0, 1), (0, 2)]
    assert lines(tmp_path) == [3, 4, 5, 6, 7, 8, 9]


def peak() -> int:
    """Return the most memory that this process ever had, in bytes."""
    assert sys.platform == "linux"
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


async def test_a_long_row_that_changes_while_it_is_fetched_is_not_written(
    database: TestDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.execute(
        "CREATE TABLE t AS SELECT g AS id, now() - interval '1 h' AS expires_at, "
        "repeat(md5(g::text), 3000) AS v FROM generate_series(1, 5) g"
    )
    long_line, calls = FileArchive.long_line, 0

    def move(self: FileArchive, target: Target, row: Versions) -> Any:
        nonlocal calls
        calls += 1
        statement = long_line(self, target, row)
        if calls == 1:  # what a vacuum leaves
            moved = Versions(row.tids, ("another",), row.horizon)
            statement = long_line(self, target, moved)
        return statement

    monkeypatch.setattr(FileArchive, "long_line", move)
    report = await archived(database, tmp_path)

    assert report.deleted_count == 5
    assert await left(database) == set()
    assert lines(tmp_path) == [2, 3, 4, 5, 1], (
        "row 1 when it was looked at once more, as it was then"
    )


@pytest.mark.parametrize(
    "end",
    [asyncio.CancelledError(), RunEndError("stopped", "asked to stop")],
    ids=["cancel", "end"],
)
async def test_a_run_that_ends_while_it_asks_for_a_commits_fate_keeps_the_lines(
    database: TestDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: BaseException
) -> None:
    """The rows are gone, and nobody heard it."""

    async def ended(*_: object) -> bool:
        raise end

    monkeypatch.setattr(Session, "was_committed", ended)
    socket = Path(database.server.directory) / f".s.PGSQL.{database.server.port}"
    await database.execute(ROWS)
    async with Proxy(socket) as whole:
        await archived(database, tmp_path / "whole", whole.dsn(database.name))
    lost = 0
    for step in range(whole.seen // 2, whole.seen + 1):
        await database.execute(ROWS)
        directory = tmp_path / str(step)
        async with Proxy(socket, step, after=True) as proxy:
            with suppress(asyncio.CancelledError):
                report = await archived(database, directory, proxy.dsn(database.name))
                lost += any("fate is not known" in text for text in report.warnings)
        await database.gone_quiet()
        gone = set(range(1, 401)) - await left(database)
        repair(directory / "old")
        assert gone <= set(restored(directory)), step
        assert gone <= set(kept(directory)), step
    assert lost or isinstance(end, asyncio.CancelledError)


async def test_a_run_that_is_cancelled_behind_a_commit_counts_it_and_marks_what_stayed(
    database: TestDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.execute(ROWS)
    task = asyncio.current_task()
    note_stayed = FileArchive.note_stayed

    async def cancelled(self: FileArchive, numbers: list[int]) -> str | None:
        assert running is not task
        running.cancel()
        await asyncio.sleep(0)
        return await note_stayed(self, numbers)

    monkeypatch.setattr(FileArchive, "note_stayed", cancelled)
    report = Report("s", "00000000-test", memory=SweepMemory())
    running = asyncio.ensure_future(archived(database, tmp_path, report=report))
    with suppress(asyncio.CancelledError):
        await running

    gone = set(range(1, 401)) - await left(database)
    assert report.deleted_count == len(gone) > 0
