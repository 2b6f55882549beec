"""File archives: each row that is gone is on disk, exactly, whatever ends the run."""

from __future__ import annotations

import asyncio
import fcntl
import gzip
import hashlib
import json
import os
import resource
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sweeperd.sweep.archive.gzip_file import ArchiveFile, repair
from tests.cli.command import SWEEPERD, configured, pass_guards, sweep_table
from tests.conftest import TestDatabase
from tests.sweep.engine import sweep
from tests.sweep.proxy import Proxy

ROWS = (
    "DROP TABLE IF EXISTS t; CREATE TABLE t (id int PRIMARY KEY, expires_at timestamptz);"
    "INSERT INTO t SELECT g, now() + CASE WHEN g % 4 = 0 THEN 1 ELSE -1 END * interval '1 hour' "
    "FROM generate_series(1, 400) g;"
)


def files(directory: Path) -> list[Path]:
    return sorted(directory.rglob("*.jsonl.gz"))


def kept(directory: Path) -> list[int]:
    """Return the ids in all files, after each was checked against its manifest."""
    ids: list[int] = []
    for path in files(directory):
        lines = gzip.decompress(path.read_bytes()).decode().splitlines()
        told = json.loads(path.with_name(f"{path.name}.manifest.json").read_text())
        assert told["count"] == len(lines)
        assert told["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        ids += [json.loads(line)["id"] for line in lines]
    return ids


async def archived(database: TestDatabase, directory: Path, dsn: str = "", **keys: Any) -> Any:
    plain: dict[str, Any] = {"archive_to": "file:old", "max_batch_rows": 120}
    return await sweep(dsn or database.dsn, archives=directory, **(plain | keys))


async def left(database: TestDatabase) -> set[int]:
    return {row["id"] for row in await database.fetch("SELECT id FROM t")}


async def test_files_are_private_and_the_manifest_tells_all(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(ROWS)

    report = await archived(database, tmp_path)

    (path,) = files(tmp_path)
    manifest = path.with_name(f"{path.name}.manifest.json")
    assert sorted(kept(tmp_path)) == [n for n in range(1, 401) if n % 4]
    assert {one.stat().st_mode & 0o777 for one in (path, manifest)} == {0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert sorted(path.parent.iterdir()) == [path, manifest]
    told = json.loads(manifest.read_text())
    assert (told["table"], told["sweep"], told["complete"]) == ("public.t", "s", True)
    assert told["correlation_id"] == report.correlation_id
    assert told["columns"] == {"id": "integer", "expires_at": "timestamp with time zone"}

    await archived(database, tmp_path)
    assert files(tmp_path) == [path], "a run that deletes nothing makes no file"


async def test_lanes_side_by_side_write_one_file(database: TestDatabase, tmp_path: Path) -> None:
    await database.execute(
        "CREATE TABLE t (id int, expires_at timestamptz, pad text DEFAULT repeat('x', 500));"
        "INSERT INTO t SELECT g, now() - interval '1 hour' FROM generate_series(1, 6000) g"
    )

    report = await archived(database, tmp_path, workers=4, strategy="heap")

    assert (report.outcome, report.deleted_count, len(files(tmp_path))) == ("drained", 6000, 1)
    assert sorted(kept(tmp_path)) == list(range(1, 6001))


async def test_rows_of_a_batch_that_was_rolled_back_are_not_in_the_file(
    database: TestDatabase, tmp_path: Path
) -> None:
    """A deferred constraint refuses at COMMIT, when the rows are on disk already."""
    await database.execute(
        ROWS + "CREATE TABLE child (id int REFERENCES t DEFERRABLE INITIALLY DEFERRED);"
        "INSERT INTO child VALUES (7), (33), (398)"
    )

    report = await archived(database, tmp_path)

    assert (report.outcome, report.kept_referenced) == ("drained", 3)
    assert sorted(kept(tmp_path)) == sorted(set(range(1, 401)) - await left(database))
    assert {7, 33, 398} < await left(database)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_connection_cut_at_every_message_loses_no_row_of_the_file(
    database: TestDatabase, tmp_path: Path, *, after: bool
) -> None:
    socket = Path(database.server.directory) / f".s.PGSQL.{database.server.port}"
    await database.execute(ROWS)
    async with Proxy(socket) as whole:
        await archived(database, tmp_path / "whole", whole.dsn(database.name))
    for step in range(20, whole.seen + 1):
        await database.execute(ROWS)
        directory = tmp_path / str(step)
        async with Proxy(socket, step, after) as proxy:
            report = await archived(database, directory, proxy.dsn(database.name))
        gone = set(range(1, 401)) - await left(database)
        assert gone <= set(kept(directory)), step
        assert not any(n % 4 == 0 for n in gone), step
        assert report.deleted_count == len(gone), step
        # repeats come of lost COMMITs alone
        assert len(kept(directory)) <= len(gone) + 120, step


class KillingProxy(Proxy):
    """Kills the client's process, not its wire."""

    victim: asyncio.subprocess.Process | None = None

    async def cut(self) -> None:
        assert self.victim is not None
        self.victim.kill()
        await self.victim.wait()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("archive", ["file:old", "a"])
async def test_a_process_killed_at_every_step_loses_nothing(
    database: TestDatabase, tmp_path: Path, archive: str, *, after: bool
) -> None:
    socket = Path(database.server.directory) / f".s.PGSQL.{database.server.port}"
    made = "DROP TABLE IF EXISTS a;" + ROWS + "CREATE TABLE a (LIKE t);"
    table = sweep_table(archive_to=archive, max_batch_rows=150)
    whole = step = 0
    while not whole or step <= whole:
        await database.execute(made)
        state = tmp_path / str(step)
        async with KillingProxy(socket, step if whole else None, after) as proxy:
            option = configured(tmp_path, database, table, dsn=proxy.dsn(database.name))
            proxy.victim = await asyncio.create_subprocess_exec(
                *SWEEPERD, "sweep", option,
                env={**os.environ, "STATE_DIRECTORY": str(state)}, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            await proxy.victim.wait()
        if not whole:
            assert proxy.victim.returncode == 0
            whole = proxy.seen
            step = whole // 2  # those before are logins and catalogue reads; other tests cut them
            continue
        if proxy.victim.returncode == 0:
            break  # this run had some messages less
        assert proxy.victim.returncode == -signal.SIGKILL
        await database.gone_quiet()
        repair(state / "archive" / "old")
        rows = await left(database)
        gone = set(range(1, 401)) - rows
        if archive == "a":
            moved = [row["id"] for row in await database.fetch("SELECT id FROM a")]
            assert sorted([*moved, *rows]) == list(range(1, 401)), step
        else:
            assert gone <= set(kept(state)), step
        assert not any(n % 4 == 0 for n in gone), step
        step += 3
    # a run that took longer looked at the server's health once more, which other runs do not
    assert step > whole * 3 // 4, "a run may have some messages less, and not many"


def _small_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))


async def test_a_full_disk_stops_the_sweep_before_the_commit(
    database: TestDatabase, tmp_path: Path
) -> None:
    """A limit of 2,000 bytes a file is what this process can have without a mount."""
    await database.execute(
        "CREATE TABLE t AS SELECT g AS id, md5(g::text) AS noise, now() - interval '1 hour' AS "
        "expires_at FROM generate_series(1, 400) g"
    )
    option = configured(tmp_path, database, sweep_table(archive_to="file:old", max_batch_rows=30))
    pass_guards(tmp_path / "state")
    process = await asyncio.create_subprocess_exec(
        *SWEEPERD, "sweep", "--json", option, preexec_fn=_small_files,
        env={**os.environ, "STATE_DIRECTORY": str(tmp_path / "state")}, stdout=subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate()

    (report,) = json.loads(out)
    assert (process.returncode, report["outcome"]) == (1, "failed")
    assert "old" in report["error"]
    assert "cannot be written: File too large" in report["error"]
    assert 0 < report["deleted_count"] < 400
    gone = set(range(1, 401)) - await left(database)
    assert len(gone) == report["deleted_count"]
    assert sorted(kept(tmp_path / "state")) == sorted(gone)


def test_a_repair_beside_a_file_that_is_just_made_takes_it_from_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run may look between the making of a file and its lock."""
    flock = fcntl.flock
    looked: list[Path] = []

    def interrupted(descriptor: int, operation: int) -> None:
        if not looked:
            looked.append(tmp_path)
            repair(tmp_path)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", interrupted)
    file = ArchiveFile(tmp_path / "x.jsonl.gz", {})
    file.append(['{"id": 1}'])
    file.finish()

    assert looked
    assert kept(tmp_path) == [1]


async def test_a_condition_reads_days_as_the_role_does(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(
        "CREATE TABLE t AS SELECT 1 AS id, '03/04/2001' AS until UNION ALL SELECT 2, '25/12/2001'"
    )
    await database.execute(f"ALTER DATABASE {database.name} SET DateStyle = 'SQL, DMY'")

    report = await archived(
        database, tmp_path, column=None, keep=None, condition="until::date = '2001-04-03'"
    )

    assert (report.outcome, report.deleted_count) == ("drained", 1), report
    assert await left(database) == {2}


def test_a_torn_file_is_made_whole_by_the_next_run(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.gz"
    file = ArchiveFile(path, {"sweep": "s"})
    file.append(['{"id": 1}', '{"id": 2}'])
    good = file.mark.size
    file.append(['{"id": 3}'] * 1000)
    part = path.with_name(path.name + ".part")
    content = part.read_bytes()
    assert repair(tmp_path) == [], "a living run's file is let be"
    os.close(file._descriptor)
    for size in range(good, len(content)):
        part.write_bytes(content[:size])
        assert repair(tmp_path) == [path]
        assert kept(tmp_path) == [1, 2]
        told = json.loads(path.with_name(f"{path.name}.manifest.json").read_text())
        assert (told["sweep"], told["complete"]) == ("s", False)
        path.unlink()
    part.write_bytes(content[: good - 1])
    assert repair(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
