"""Archives on disk follow no link, and touch nothing that has another name or owner."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sweeperd.sweep.archive.gzip_file import ArchiveFile, repair
from tests.conftest import TestDatabase
from tests.sweep.test_file_archive import ROWS, archived, kept, left

NAME = "x.jsonl.gz"
PART = f"{NAME}.part"
MANIFEST = f"{NAME}.manifest.json"
TEMPORARY = f".{MANIFEST}"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    directory = tmp_path / "archive" / "old"
    directory.mkdir(parents=True, mode=0o700)
    return directory


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "victim"
    path.write_text("precious")
    path.chmod(0o640)
    return path


def is_untouched(victim: Path) -> bool:
    return victim.read_text() == "precious" and victim.stat().st_mode & 0o777 == 0o640


def laid(kind: str, name: Path, victim: Path) -> None:
    if kind == "symbolic":
        name.symlink_to(victim)
    elif kind == "dangling":
        name.symlink_to(victim.with_name("new"))
    else:
        name.hardlink_to(victim)


@pytest.mark.parametrize("kind", ["symbolic", "hard", "dangling"])
@pytest.mark.parametrize("name", [TEMPORARY, MANIFEST])
def test_a_link_under_a_manifests_name_is_replaced(
    archive: Path, victim: Path, kind: str, name: str
) -> None:
    laid(kind, archive / name, victim)

    file = ArchiveFile(archive / NAME, {})
    file.append(['{"id": 1}'])
    file.finish()

    assert kept(archive) == [1]
    assert is_untouched(victim)
    assert not victim.with_name("new").exists()


@pytest.mark.parametrize("kind", ["symbolic", "hard", "dangling"])
@pytest.mark.parametrize("name", [NAME, PART])
def test_a_link_under_the_files_name_stops_it(
    archive: Path, victim: Path, kind: str, name: str
) -> None:
    laid(kind, archive / name, victim)

    with pytest.raises(OSError, match="File exists"):
        ArchiveFile(archive / NAME, {})

    assert is_untouched(victim)
    assert not victim.with_name("new").exists()


@pytest.mark.parametrize(
    ("kind", "why"),
    [("symbolic", "it is a symbolic link"), ("dangling", "symbolic"), ("hard", "a second name")],
)
async def test_a_link_where_a_torn_file_would_be_repaired_stops_the_run(
    database: TestDatabase, archive: Path, victim: Path, kind: str, why: str
) -> None:
    await database.execute(ROWS)
    laid(kind, archive / PART, victim)

    report = await archived(database, archive.parent)

    assert report.outcome == "failed"
    assert why in report.error
    assert "nothing was deleted" in report.error
    assert len(await left(database)) == 400
    assert is_untouched(victim)


@pytest.mark.parametrize("level", [0, 1])
async def test_a_linked_directory_is_not_entered(
    database: TestDatabase, tmp_path: Path, level: int
) -> None:
    await database.execute(ROWS)
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "old").mkdir(parents=True)
    archive = tmp_path / "state" / "archive"
    archive.parent.mkdir()
    if level:
        archive.mkdir(mode=0o700)
        (archive / "old").symlink_to(elsewhere)
    else:
        archive.symlink_to(elsewhere)

    report = await archived(database, archive)

    assert report.outcome == "failed"
    assert len(await left(database)) == 400
    assert [path for path in elsewhere.rglob("*") if path.is_file()] == []


async def test_a_directory_that_others_can_write_is_not_used(
    database: TestDatabase, archive: Path
) -> None:
    await database.execute(ROWS)
    archive.chmod(0o777)

    report = await archived(database, archive.parent)

    assert report.outcome == "failed"
    assert f"run: chmod go-w {archive}" in report.error
    assert len(await left(database)) == 400


def test_a_pipe_or_a_directory_for_a_torn_file_is_not_waited_for(archive: Path) -> None:
    os.mkfifo(archive / PART)
    with pytest.raises(OSError, match="not a regular file"):
        repair(archive)

    (archive / PART).unlink()
    (archive / PART).mkdir()
    with pytest.raises(OSError, match=r"Is a directory|not a regular file"):
        repair(archive)
