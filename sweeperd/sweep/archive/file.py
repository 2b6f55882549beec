"""Where rows go before they are gone: a file of JSON lines, synced before the batch's COMMIT.

A crash, or a COMMIT whose answer is lost, may leave a row in the file and in the table: the
next run writes it once more. None is ever gone from the table without a line on disk.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sweeperd.postgres.catalog import Column
from sweeperd.postgres.sql.archive import EXACT_TEXT, delete_returning_json
from sweeperd.postgres.sql.rows import Statement
from sweeperd.postgres.transaction import Connection, fetch
from sweeperd.sweep.archive.gzip_file import ArchiveFile, Mark, repair
from sweeperd.sweep.outcome.report import RunEndError

_BEFORE: Final = "nothing was deleted"
_BATCH: Final = "nothing of this batch was deleted"
_AFTER: Final = "its rows are safe in the .part file, which the next run finishes"
_NOT_IN_A_NAME: Final = re.compile(r"[^A-Za-z0-9_-]")


@dataclass
class _Batch:
    """The rows of one batch under way; ``before`` and ``after`` once they are on disk."""

    lines: list[str] = field(default_factory=list)
    before: Mark | None = None
    after: Mark | None = None
    given_up: bool = False


class FileArchive:
    """Keeps the rows of one run in a file of its own; made with the first row.

    Args:
        directory: Where the archive's files are.
        name: The file's name, without its ending.
        columns: The table's columns.
        facts: What the manifest tells of the run.
    """

    synchronous = True
    table = None

    def __init__(
        self, directory: Path, name: str, columns: Sequence[Column], facts: dict[str, Any]
    ) -> None:
        self._path = directory / f"{name}.jsonl.gz"
        self._columns = tuple((column.name, column.base or "") for column in columns)
        self._facts = {**facts, "columns": {column.name: column.shown for column in columns}}
        self._file: ArchiveFile | None = None
        self._writing = asyncio.Lock()
        self._batches: dict[Connection, _Batch] = {}

    @classmethod
    async def opened(
        cls, directory: Path, columns: Sequence[Column], facts: dict[str, Any]
    ) -> FileArchive:
        """Return the archive of a run, after what crashed runs left was made whole.

        Raises:
            RunEndError: The directory cannot be used.
        """
        try:
            await asyncio.to_thread(repair, directory)
        except OSError as error:
            raise _unusable(directory, error, _BEFORE) from error
        stamp = re.sub(r"[-:]", "", str(facts["cutoff_time"])[:19])
        run = _NOT_IN_A_NAME.sub("_", str(facts["correlation_id"]))[:36]
        return cls(directory, f"{stamp}Z-{facts['sweep']}-{run}", columns, facts)

    def begin(self, connection: Connection) -> None:
        """Begin a batch."""
        self._batches[connection] = _Batch()

    async def delete(self, connection: Connection, statement: Statement, reference: str) -> int:
        """Run a DELETE and take its rows; return how many."""
        batch = self._batches[connection]
        if not batch.lines:
            await connection.execute(EXACT_TEXT)
        rows = await fetch(connection, delete_returning_json(statement, reference, self._columns))
        batch.lines += [row[0] for row in rows]
        return len(rows)

    async def secure(self, connection: Connection) -> None:
        """Put the batch's rows on disk; only then may it commit.

        Raises:
            RunEndError: They cannot be.
        """
        batch = self._batches[connection]
        if batch.lines:
            # a thread cannot be cancelled: it goes on, and is told that it was given up
            writing = asyncio.ensure_future(self._write(batch))
            writing.add_done_callback(lambda done: done.cancelled() or done.exception())
            await asyncio.shield(writing)

    def give_up(self, connection: Connection) -> None:
        """Take the rows of a batch back that was rolled back, where nothing follows them."""
        batch = self._batches[connection]
        batch.given_up = True
        if not self._writing.locked():
            self._take_back(batch)

    def end(self, connection: Connection) -> None:
        """End a batch."""
        del self._batches[connection]

    async def close(self) -> None:
        """Finish the file.

        Raises:
            RunEndError: It cannot be; what it holds is safe, and the next run finishes it.
        """
        async with self._writing:
            if self._file is None:
                return
            file, self._file = self._file, None
            try:
                await asyncio.to_thread(file.finish)
            except OSError as error:
                raise _unusable(self._path, error, _AFTER) from error

    async def _write(self, batch: _Batch) -> None:
        async with self._writing:
            if batch.given_up:
                return
            try:
                if self._file is None:
                    self._file = await asyncio.to_thread(ArchiveFile, self._path, self._facts)
                batch.before = self._file.mark
                await asyncio.to_thread(self._file.append, batch.lines)
                batch.after = self._file.mark
            except OSError as error:
                raise _unusable(self._path, error, _BATCH) from error
            if batch.given_up:
                self._take_back(batch)

    def _take_back(self, batch: _Batch) -> None:
        if self._file is not None and batch.before and self._file.mark is batch.after:
            self._file.reset(batch.before)


def _unusable(path: Path, error: OSError, state: str) -> RunEndError:
    why = f"{error.strerror} ({error.filename or path})"
    return RunEndError("failed", f"the archive {path} cannot be written: {why}; {state}")
