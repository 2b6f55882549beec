"""The sweeps' records in memory, written behind: the newest state, and never in the loop's way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Final, TypeVar

from sweeperd.daemon.state.record import SweepRecord
from sweeperd.daemon.state.rows import Snapshot
from sweeperd.daemon.state.run_lock import run_lock
from sweeperd.daemon.state.runs import Run
from sweeperd.daemon.state.store import Changes, StateStore

# reports that wait for a disk that is full; the log has them all
_MOST_WAITING: Final = 1_000
Result = TypeVar("Result")


class Ledger:
    """Records by sweep name; a sweep that left the configuration keeps its own.

    One thread works with the store, one piece of work after the other. Of a record only the
    newest form is written; each run is.

    Args:
        store: Where they are written.
    """

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self.loaded = store.load()
        self._records = dict(self.loaded.records)
        self._dirty: set[str] = set()
        self._runs: list[Run] = []
        self._changed = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "state")

    def settle(self) -> None:
        """Begin to write, once what damaged state asks for is held."""
        self._thread.submit(self._store.settle).result()

    def keep_for(self, history: timedelta) -> None:
        """Keep the reports of runs for so long, from the next write on."""
        self._store.history = history

    def record(self, name: str) -> SweepRecord:
        """Return a sweep's record; an empty one when it has no past."""
        return self._records.get(name, SweepRecord())

    def note(self, name: str, record: SweepRecord, run: Run | None = None) -> None:
        """Keep a record, and the run that has ended, to be written soon."""
        self._records[name] = record
        if run is not None:
            self._runs = [*self._runs, run][-_MOST_WAITING:]
        self.touch(name)

    def touch(self, name: str) -> None:
        """Write soon: a record's memory has moved on."""
        self._dirty.add(name)
        self._changed.set()

    @asynccontextmanager
    async def run(self, name: str) -> AsyncIterator[None]:
        """Have the lock of a sweep's run, and what a foreground run has saved since the last one.

        Where a foreground run has the lock this run begins all the same: the lock of each batch
        keeps them apart on the server, and the last one's memory stays.
        """
        with ExitStack() as stack:
            with suppress(OSError):
                stack.enter_context(run_lock(self._store.directory, name))
            found = await self._in_thread(lambda: self._store.reread(name))
            if found is not None:
                known = self.record(name)
                if known.last_start is not None:
                    found = replace(known, memory=found.memory, history=found.history)
                self._records[name] = found
            yield

    async def write_behind(self) -> None:
        """Write after each change, for ever.

        Changes that come during a write become one more; so a crash of the process costs
        what was committed within one write.
        """
        while True:
            await self._changed.wait()
            changes = self._take()
            writing = asyncio.ensure_future(self._in_thread(lambda: self._store.write(changes)))  # noqa: B023
            try:
                is_written = await asyncio.shield(writing)
            except asyncio.CancelledError:
                await asyncio.wait([writing])  # a thread cannot be cancelled; `flush` comes after
                self._look_back(changes, is_written=writing.result())
                raise
            self._look_back(changes, is_written=is_written)

    def flush(self) -> None:
        """Write now and close; for the end, when no sweep runs any more."""
        for _ in range(2):  # a database that was made anew wants all records
            if not self._dirty and not self._runs:
                break
            changes = self._take()
            is_written = self._thread.submit(self._store.write, changes).result()
            self._look_back(changes, is_written=is_written)
        self._thread.submit(self._store.close).result()
        self._thread.shutdown()

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _take(self) -> Changes:
        """Return what is to be written, as it is at this moment."""
        self._changed.clear()
        dirty, self._dirty = self._dirty, set()
        runs, self._runs = self._runs, []
        return Changes([Snapshot.of(name, self.record(name)) for name in sorted(dirty)], runs)

    def _look_back(self, changes: Changes, *, is_written: bool) -> None:
        """Keep what could not be written for the next change."""
        if not is_written:
            self._dirty |= {sweep.name for sweep in changes.sweeps}
            self._runs = [*changes.runs, *self._runs][-_MOST_WAITING:]
        elif self._store.took_new_file():
            self._dirty |= self._records.keys()
            self._changed.set()
