"""What the daemon remembers across restarts: the one writer of a state directory's database."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from sweeperd.config.values.types import NAME
from sweeperd.daemon.state.aside import set_aside
from sweeperd.daemon.state.database import (
    DATABASE,
    create_database,
    open_for_writing,
    transaction,
)
from sweeperd.daemon.state.found import Found, find_state
from sweeperd.daemon.state.json_file import IMPORTED, STATE_FILE, JsonState
from sweeperd.daemon.state.lock import locked_directory
from sweeperd.daemon.state.reading import read_one, read_revision
from sweeperd.daemon.state.record import Loaded, SweepRecord
from sweeperd.daemon.state.rows import Snapshot
from sweeperd.daemon.state.runs import Run, insert_run, prune_runs
from sweeperd.daemon.state.sequence import note_commit, open_sequence
from sweeperd.log.daemon_events import StateNotSaved, StateSavedAgain
from sweeperd.log.event import emit

DEFAULT_HISTORY: Final = timedelta(days=90)


@dataclass(frozen=True)
class Changes:
    """What is written at once.

    Attributes:
        sweeps: What their records are now.
        runs: Runs that have ended since.
    """

    sweeps: Sequence[Snapshot] = ()
    runs: Sequence[Run] = ()


@dataclass(frozen=True)
class _Known:
    """What the rows of a sweep are known to be.

    Attributes:
        revision: Of its row; another one was written by another process.
        written: What was written last; None when only the revision is known.
    """

    revision: int
    written: Snapshot | None = None


@dataclass(frozen=True)
class _Opened:
    """The open database.

    Attributes:
        connection: To write.
        file: Which file it is.
        sequence: Descriptor of the sequence.
    """

    connection: sqlite3.Connection
    file: tuple[int, int]
    sequence: int

    def close(self) -> None:
        """Close it; what is in the -wal goes into the file."""
        with suppress(sqlite3.Error):
            self.connection.close()
        os.close(self.sequence)


class StateStore:
    """Writes the state of one directory; its methods are called by one thread at a time.

    Args:
        directory: Where the state is; made when missing.
        now: Returns the host's wall time, UTC.
        history: How long the reports of runs are kept; may be set anew.
    """

    def __init__(
        self,
        directory: Path,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        history: timedelta = DEFAULT_HISTORY,
    ) -> None:
        self.directory = directory
        self.history = history
        self._path = directory / DATABASE
        self._now = now
        self._found = Found()
        self._opened: _Opened | None = None
        self._known: dict[str, _Known] = {}
        self._failing = False
        self._is_new = False

    def locked(self) -> AbstractContextManager[None]:
        """Own the directory while the context lasts; see `locked_directory`."""
        return locked_directory(self.directory)

    def load(self) -> Loaded:
        """Read the records; nothing is written before `settle`."""
        self._found = find_state(self.directory)
        self._known = {name: _Known(number) for name, number in self._found.revisions.items()}
        return self._found.loaded

    def settle(self) -> None:
        """Set aside what cannot be used, with a warning, and import what an earlier version left.

        What damage asks for must be held before this: after it, the evidence has another name.
        """
        found, self._found = self._found, Found()
        for trouble in found.troubles:
            set_aside(self.directory, trouble)
        if found.earlier is not None:
            is_written = self._import(found.earlier)
        else:
            is_written = self.write(Changes())
        # what a new database lacks by now is what could not be read
        self._is_new = self._is_new and not is_written

    def write(self, changes: Changes) -> bool:
        """Write, all or nothing; for a thread of its own.

        A full disk or the like is logged once a change of state; nothing is then changed.

        Returns:
            Whether it was written.
        """
        return self._attempt(lambda opened: self._write(opened.connection, changes))

    def took_new_file(self) -> bool:
        """Whether the database was made since the last call, so that it has nothing of before."""
        is_new, self._is_new = self._is_new, False
        return is_new

    def reread(self, name: str) -> SweepRecord | None:
        """Return a sweep's record if another process has written it; None if not, or unreadable."""
        try:
            connection = self._open(make=False).connection
            revision = read_revision(connection, name)
            known = self._known.get(name)
            if revision is None or (known is not None and known.revision == revision):
                return None
            stored = read_one(connection, name)
            record = stored.decoded(name) if stored is not None else None
        except (OSError, ValueError, TypeError, RecursionError, sqlite3.Error):
            return None
        self._known[name] = _Known(revision)
        return record

    def close(self) -> None:
        """Close the database."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _attempt(self, work: Callable[[_Opened], dict[str, _Known]]) -> bool:
        try:
            opened = self._open(make=True)
            with transaction(opened.connection):
                known = work(opened)
                opened.connection.execute("UPDATE meta SET commits = commits + 1")
                (commits,) = opened.connection.execute("SELECT commits FROM meta").fetchone()
            with suppress(OSError):  # it is written all the same
                note_commit(opened.sequence, commits)
        except (OSError, ValueError, sqlite3.Error) as error:
            self.close()  # another try begins anew, whatever happened to the files
            if not self._failing:
                emit(StateNotSaved(str(self._path), str(error)))
            self._failing = True
            return False
        self._known |= known
        if self._failing:
            emit(StateSavedAgain(str(self._path)))
        self._failing = False
        return True

    def _open(self, *, make: bool) -> _Opened:
        """Return the database that has the name now: it may have been removed since."""
        try:
            status = self._path.lstat()
            file = (status.st_dev, status.st_ino)
        except FileNotFoundError:
            if not make:
                raise
            file = None
        if self._opened is not None and self._opened.file != file:
            self.close()
            self._known = {}
        if file is None:
            create_database(self.directory)
            self._known, self._is_new = {}, True
        if self._opened is None:
            self._opened = self._open_both()
        return self._opened

    def _open_both(self) -> _Opened:
        connection = open_for_writing(self.directory)
        try:
            sequence = open_sequence(self.directory)
        except BaseException:
            connection.close()
            raise
        status = self._path.lstat()
        return _Opened(connection, (status.st_dev, status.st_ino), sequence)

    def _write(self, connection: sqlite3.Connection, changes: Changes) -> dict[str, _Known]:
        known = {one.name: self._write_sweep(connection, one) for one in changes.sweeps}
        for run in changes.runs:
            insert_run(connection, run)
        prune_runs(connection, self._now(), self.history)
        return known

    def _write_sweep(self, connection: sqlite3.Connection, sweep: Snapshot) -> _Known:
        """Write what differs from what this process wrote last; all of it if another one wrote."""
        revision = read_revision(connection, sweep.name)
        known = self._known.get(sweep.name)
        is_ours = known is not None and known.revision == revision
        former = known.written if known is not None and is_ours else None
        if former is None:
            for table in ("memory", "memory_entry"):
                connection.execute(f"DELETE FROM {table} WHERE sweep = ?", (sweep.name,))
        sweep.write(connection, former)
        revision = (revision or 0) + 1
        connection.execute(
            "INSERT INTO sweep (name, revision, record) VALUES (?, ?, ?) ON CONFLICT (name) DO "
            "UPDATE SET revision = excluded.revision"
            + ("" if sweep.keeps_schedule else ", record = excluded.record"),
            (sweep.name, revision, sweep.schedule),
        )
        return _Known(revision, sweep)

    def _import(self, earlier: JsonState) -> bool:
        """Write what an earlier version left; its file is renamed once that is on disk."""
        changes = Changes(
            [
                Snapshot.of(name, record)
                for name, record in earlier.loaded.records.items()
                if NAME.fullmatch(name)
            ],
            [Run(name, report) for name, runs in earlier.runs.items() for report in runs],
        )
        damaged = {n: why for n, why in earlier.loaded.damaged.items() if NAME.fullmatch(n)}

        def work(opened: _Opened) -> dict[str, _Known]:
            known = self._write(opened.connection, changes)
            for name, reason in damaged.items():
                opened.connection.execute(
                    "INSERT OR REPLACE INTO sweep (name, revision, record) VALUES (?, 1, ?)",
                    (name, json.dumps(reason)),  # it reads back as damage until a run ends that
                )
            return known

        if not self._attempt(work):
            return False
        with suppress(OSError):
            (self.directory / STATE_FILE).replace(self.directory / IMPORTED)
        return True
