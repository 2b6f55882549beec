"""Where rows go before they are gone: a file of JSON lines, synced before the batch begins.

Rows are read first, in a transaction that only reads; what is then deleted are these very versions
of them, and the file tells which of them stayed. Were they sent by the DELETE itself, a client that
stops reading would hold the locks of all. A crash, or a COMMIT whose answer is lost, may leave a
row in the file and in the table: the next run writes it once more. None is ever gone from the table
without a line on disk.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from sweeperd.postgres.catalog import Column
from sweeperd.postgres.sql.archive import (
    DECLARE,
    EXACT_TEXT,
    FETCH,
    LONGEST_LINE,
    read_line,
    read_rows,
)
from sweeperd.postgres.sql.slices import Tid, Versions
from sweeperd.postgres.sql.target import Statement, Target
from sweeperd.postgres.transaction import Connection, Frame, fetchval, reading_rows, settle
from sweeperd.sweep.archive.base import ManyRowsError, Slices, TooLarge
from sweeperd.sweep.archive.gzip_file import ArchiveFile, Mark, repair
from sweeperd.sweep.outcome.report import RunEndError

_BEFORE: Final = "nothing was deleted"
_BATCH: Final = "nothing of this batch was deleted"
_AFTER: Final = "its rows are safe in the .part file, which the next run finishes"
_NOT_IN_A_NAME: Final = re.compile(r"[^A-Za-z0-9_-]")

# What is held in memory of rows: as many short lines as are fetched at once, or one long line.
_WRITTEN: Final = 8 << 20  # characters of lines that become one gzip member


@dataclass
class _Kept:
    """The rows of one batch under way, on disk."""

    archive: FileArchive
    slices: Slices = ()
    too_large: list[TooLarge] = field(default_factory=list)
    lines: list[list[int]] = field(default_factory=list)  # of each slice, in the order of its rows
    before: Mark | None = None
    after: Mark | None = None

    async def settle(self, stayed: Sequence[Sequence[int]]) -> str | None:
        """Note which lines are of rows that are in the table all the same."""
        numbers = [
            lines[place - 1]
            for lines, places in zip(self.lines, stayed, strict=True)
            for place in places
        ]
        return await self.archive.note_stayed(numbers)

    async def give_up(self) -> None:
        """Take the lines back where nothing follows them; note them where something does."""
        await self.archive.take_back(self)


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
        self, directory: Path, name: str, columns: Sequence[Column], facts: Mapping[str, object]
    ) -> None:
        self._path = directory / f"{name}.jsonl.gz"
        self._columns = tuple((column.name, column.base or "") for column in columns)
        self._facts = {**facts, "columns": {column.name: column.shown for column in columns}}
        self._file: ArchiveFile | None = None
        self._writing = asyncio.Lock()

    @classmethod
    async def opened(
        cls, directory: Path, columns: Sequence[Column], facts: Mapping[str, object]
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

    async def keep(self, connection: Connection, frame: Frame, slices: Slices, limit: int) -> _Kept:
        """Write the rows of the next batch; return them as the versions that were read.

        Raises:
            RunEndError: They cannot be written.
            ManyRowsError: There are more than ``limit``.
        """
        kept = _Kept(self)
        async with self._writing:
            kept.before = self._file.mark if self._file is not None else None
            try:
                for target, part in slices:
                    reader = _Reader(self, connection, target, limit)
                    async with reading_rows(connection, _for_reading(frame)):
                        await connection.execute(EXACT_TEXT)
                        versions = await reader.read(read_rows(target, part, self._columns, limit))
                    kept.slices += ((target, versions),)
                    kept.lines.append(reader.lines)
                    kept.too_large += reader.too_large
                    limit -= len(versions.tids)
            except BaseException:
                self._reset(kept.before)
                raise
            kept.after = self._file.mark if self._file is not None else None
        return kept

    def long_line(self, target: Target, row: Versions) -> Statement:
        """Return the query for one row's line."""
        return read_line(target, row, self._columns)

    async def append(self, lines: list[str]) -> range:
        """Write lines and sync them; return their numbers, from 1.

        Raises:
            RunEndError: They cannot be written.
        """
        begin = self._file.mark.count if self._file is not None else 0
        await self._in_thread(lambda: self._append(lines))
        return range(begin + 1, begin + 1 + len(lines))

    def _append(self, lines: list[str]) -> None:
        if self._file is None:
            self._file = ArchiveFile(self._path, self._facts)
        self._file.append(lines)

    async def note_stayed(self, numbers: list[int]) -> str | None:
        """Note lines whose rows stayed; return why that cannot be, in words."""
        async with self._writing:
            file = self._file
            if file is None or not numbers:
                return None
            try:
                await self._in_thread(lambda: file.note_stayed(sorted(numbers)))
            except RunEndError as error:
                return error.reason
        return None

    async def take_back(self, kept: _Kept) -> None:
        """Take back the lines of a batch that was rolled back, or note that its rows stayed."""
        async with self._writing:
            if self._file is None or kept.after is None:
                return
            if self._file.mark is kept.after:
                self._reset(kept.before)
                return
            numbers = [number for lines in kept.lines for number in lines]
            file = self._file
            await self._in_thread(lambda: file.note_stayed(numbers))

    def _reset(self, mark: Mark | None) -> None:
        if self._file is not None:
            self._file.reset(mark or self._file.start)

    async def _in_thread(self, work: Callable[[], None]) -> None:
        """Work in a thread, which cannot be cancelled and is waited for.

        Raises:
            RunEndError: The disk refuses.
        """
        working = asyncio.ensure_future(asyncio.to_thread(work))
        cancelled = await settle(working)
        try:
            working.result()
        except OSError as error:
            raise _unusable(self._path, error, _BATCH) from error
        if cancelled:
            raise asyncio.CancelledError

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


class _Reader:
    """Reads the rows of one slice into the file; few of them are in memory at a time."""

    def __init__(
        self, archive: FileArchive, connection: Connection, target: Target, limit: int
    ) -> None:
        self._archive = archive
        self._connection = connection
        self._target = target
        self._limit = limit
        self._tids: list[Tid] = []
        self._versions: list[str] = []
        self._horizon = 0
        self._pending: list[str] = []
        self._size = 0
        self.lines: list[int] = []
        self.too_large: list[TooLarge] = []

    async def read(self, statement: Statement) -> Versions:
        """Read all; return the rows by place and version."""
        read = 0
        await self._connection.execute(f"{DECLARE} {statement.text}", *statement.args)
        while rows := await self._connection.fetch(FETCH):
            for row in rows:
                self._horizon = row["horizon"]
                await self._take(row["place"], row["version"], row["line"], row["size"])
            read += len(rows)
            if read > self._limit:  # those left out count: behind the last there may be more
                raise ManyRowsError
        await self._write()
        return Versions(tuple(self._tids), tuple(self._versions), self._horizon)

    async def _take(self, tid: Tid, version: str, line: str | None, size: int) -> None:
        if size > LONGEST_LINE:
            self.too_large.append(TooLarge(self._target, tid, size))
            return
        if line is None:
            await self._write()
            alone = Versions((tid,), (version,), self._horizon)
            line = await fetchval(self._connection, self._archive.long_line(self._target, alone))
            if line is None:  # moved or renewed meanwhile
                return
        self._tids.append(tid)
        self._versions.append(version)
        self._pending.append(line)
        self._size += len(line)
        if self._size > _WRITTEN:
            await self._write()

    async def _write(self) -> None:
        if self._pending:
            self.lines += await self._archive.append(self._pending)
            self._pending, self._size = [], 0


def _for_reading(frame: Frame) -> Frame:
    """Return a frame in which a slice may be read for longer than a batch may hold locks."""
    default = Frame()
    return replace(
        frame,
        statement_timeout_ms=default.statement_timeout_ms,
        idle_timeout_ms=default.idle_timeout_ms,
    )


def _unusable(path: Path, error: OSError, state: str) -> RunEndError:
    why = f"{error.strerror} ({error.filename or path})"
    return RunEndError("failed", f"the archive {path} cannot be written: {why}; {state}")
