"""The state database: how it is made, opened, migrated, and read as a whole.

A file that is empty, damaged, another program's or a later version's is never taken for a fresh
one. Nor is one that went back: `state.sequence` has the number of the newest commit, so that a
lost or damaged ``-wal``, which SQLite passes over, or an older copy is seen.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from sweeperd.daemon.state.record import NewerVersionError
from sweeperd.daemon.state.sequence import (
    SEQUENCE,
    least_commits,
    read_sequence,
    write_sequence,
)
from sweeperd.host.permissions import exposures
from sweeperd.log.event import counted

DATABASE: Final = "state.db"
WITH_DATABASE: Final = ("-wal", "-shm", "-journal")

_APPLICATION_ID: Final = 0x53574550  # "SWEP"
_BUSY_SECONDS: Final = 5.0
_FILE_MODE: Final = 0o640
_READ_TRIES: Final = 5
# In order; each raises user_version by one and is never changed once it was released. The
# tables are not STRICT, which SQLite knows from 3.37 on: what is read is checked here.
_MIGRATIONS: Final = (
    (
        "CREATE TABLE meta (commits INTEGER NOT NULL)",
        "INSERT INTO meta VALUES (0)",
        "CREATE TABLE sweep (name TEXT NOT NULL PRIMARY KEY, revision INTEGER NOT NULL, "
        "record TEXT NOT NULL) WITHOUT ROWID",
        "CREATE TABLE memory (sweep TEXT NOT NULL, part TEXT NOT NULL, value TEXT NOT NULL, "
        "PRIMARY KEY (sweep, part)) WITHOUT ROWID",
        "CREATE TABLE memory_entry (sweep TEXT NOT NULL, part TEXT NOT NULL, key TEXT NOT NULL, "
        "value TEXT NOT NULL, PRIMARY KEY (sweep, part, key)) WITHOUT ROWID",
        "CREATE TABLE run (id INTEGER PRIMARY KEY, sweep TEXT NOT NULL, "
        "started_at INTEGER NOT NULL, report TEXT NOT NULL)",  # microseconds since 1970 UTC
        "CREATE INDEX run_of_sweep ON run (sweep, started_at)",
        "CREATE INDEX run_by_start ON run (started_at)",
    ),
)
VERSION: Final = len(_MIGRATIONS)
Found = TypeVar("Found")


class StateBusyError(Exception):
    """The database cannot be read at this moment, and nothing says that it is damaged."""


def is_damage(error: sqlite3.Error) -> bool:
    """Whether an error says that the file itself cannot be used, not only at this moment."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    return code in {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def create_database(directory: Path) -> None:
    """Make an empty database, whole or not at all, and the sequence beside it.

    Raises:
        OSError: It cannot be made.
        sqlite3.Error: Likewise.
    """
    path, part = directory / DATABASE, directory / f".{DATABASE}.{secrets.token_hex(8)}"
    commits = least_commits(directory)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)
    try:
        os.fchmod(descriptor, _FILE_MODE)  # whatever the umask is
    finally:
        os.close(descriptor)
    try:
        with closing(_connect(part, "rw")) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            _migrate(connection, 0)
            connection.execute("UPDATE meta SET commits = ?", (commits,))
        for suffix in WITH_DATABASE:  # of a former one: SQLite would put them into this one
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        part.replace(path)
    except BaseException:
        for suffix in ("", *WITH_DATABASE):
            part.with_name(part.name + suffix).unlink(missing_ok=True)
        raise
    write_sequence(directory, commits)


def read_database(directory: Path, look: Callable[[sqlite3.Connection], Found]) -> Found:
    """Read the database; none of its files is written, but for SQLite's own ``-shm``.

    Args:
        directory: The state directory.
        look: Returns what is wanted of it; it may be called again.

    Raises:
        FileNotFoundError: There is none, and there never was.
        OSError: It cannot be opened.
        NewerVersionError: A later sweeperd wrote it.
        ValueError: It is damaged.
        StateBusyError: Another process locks it, or the system refuses it at this moment.
    """
    for _ in range(_READ_TRIES):
        sequence = read_sequence(directory)  # before the database, which is never behind it
        _check_files(directory, sequence)
        before = _written_at(directory)
        # what no process writes can be read without a file beside it
        mode = "ro&immutable=1" if before.is_closed else "ro"
        try:
            found = _read(directory, mode, sequence, look)
        except ValueError:
            if before == _written_at(directory) or not before.is_closed:
                raise
        else:
            if not before.is_closed or before == _written_at(directory):
                return found
    raise StateBusyError("other processes keep writing it")


def _read(
    directory: Path, mode: str, sequence: int | None, look: Callable[[sqlite3.Connection], Found]
) -> Found:
    try:
        with closing(_connect(directory / DATABASE, mode)) as connection:
            _check_version(connection)
            _check_commits(connection, sequence)
            return look(connection)
    except sqlite3.Error as error:
        if is_damage(error):
            raise ValueError(str(error)) from error
        raise StateBusyError(str(error)) from error


@dataclass(frozen=True)
class _Written:
    """What differs once another process wrote the database.

    Attributes:
        is_closed: Whether no process has it open to write, and none died with it open.
        at: When the file was written, and which file it is.
    """

    is_closed: bool
    at: tuple[int, ...]


def _written_at(directory: Path) -> _Written:
    logs = [directory / (DATABASE + suffix) for suffix in ("-wal", "-journal")]
    status = (directory / DATABASE).lstat()
    return _Written(
        is_closed=not any(log.exists() for log in logs),
        at=(status.st_ino, status.st_size, status.st_mtime_ns),
    )


def open_for_writing(directory: Path) -> sqlite3.Connection:
    """Open the database of a directory that has one, migrated.

    Raises:
        OSError: It cannot be opened.
        ValueError: It cannot be used.
        sqlite3.Error: It cannot be opened or migrated.
    """
    sequence = read_sequence(directory)
    _check_files(directory, sequence)
    connection = _connect(directory / DATABASE, "rw")
    try:
        version = _check_version(connection)
        _check_commits(connection, sequence)
        connection.execute("PRAGMA synchronous = FULL")
        _migrate(connection, version)
    except BaseException:
        connection.close()
        raise
    return connection


def _check_files(directory: Path, sequence: int | None) -> None:
    """Look at the files before SQLite does, which would take an empty one for a fresh database."""
    path = directory / DATABASE
    try:
        status = path.lstat()
    except FileNotFoundError:
        if (directory / f"{DATABASE}-wal").exists():
            raise ValueError("it is missing, and its -wal is there") from None
        if sequence is None:
            raise
        raise ValueError(
            f"it is missing, and {SEQUENCE} says that it was there; to begin anew, remove that, too"
        ) from None
    os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC))
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is not a regular file")
    if status.st_size == 0:
        raise ValueError("it is empty")
    for suffix in WITH_DATABASE:
        with suppress(FileNotFoundError):
            if not stat.S_ISREG((directory / (DATABASE + suffix)).lstat().st_mode):
                raise ValueError(f"its {suffix} is not a regular file")
    for found in exposures(path, [directory.stat().st_uid]):
        if found.path == path.absolute():
            raise ValueError(f"it {found.fault}")


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    name = str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    connection = sqlite3.connect(
        f"file:{name}?mode={mode}",
        uri=True,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,  # one thread at a time, but not always the same
    )
    # what is not UTF-8 is damage of its own row
    connection.text_factory = lambda content: content.decode(errors="surrogateescape")
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    return connection


def _check_version(connection: sqlite3.Connection) -> int:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != _APPLICATION_ID:
        raise ValueError("it is another program's database")
    if version > VERSION:
        raise NewerVersionError(f"it has version {version}, this sweeperd knows {VERSION}")
    if version < 1:
        raise ValueError("it names no version")
    return int(version)


def _check_commits(connection: sqlite3.Connection, sequence: int | None) -> None:
    rows = connection.execute("SELECT commits FROM meta").fetchall()
    if len(rows) != 1 or not isinstance(rows[0][0], int):
        raise ValueError("it does not tell its commits")
    missing = (sequence or 0) - rows[0][0]
    if missing > 0:
        raise ValueError(
            f"{counted(missing, 'commit')} after its newest one are missing: its -wal was lost, or "
            "an older copy was put in its place"
        )


def _migrate(connection: sqlite3.Connection, version: int) -> None:
    if version == VERSION:
        return
    with transaction(connection):
        for statements in _MIGRATIONS[version:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION}")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Write, all or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
