"""The sweeps' records in memory, written behind: the newest state, and never in the loop's way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sweeperd.daemon.state.record import SweepRecord, encode

if TYPE_CHECKING:
    from sweeperd.daemon.state.store import StateStore


class Ledger:
    """Records by sweep name; a sweep that left the configuration keeps its own.

    Args:
        store: Where they are written.
    """

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self.loaded = store.load()
        self._records = dict(self.loaded.records)
        self._changed = asyncio.Event()

    def record(self, name: str) -> SweepRecord:
        """Return a sweep's record; an empty one when it has no past."""
        return self._records.get(name, SweepRecord())

    def note(self, name: str, record: SweepRecord) -> None:
        """Keep a record, to be written soon."""
        self._records[name] = record
        self._changed.set()

    def touch(self) -> None:
        """Write soon: a record's memory has moved on."""
        self._changed.set()

    async def write_behind(self) -> None:
        """Write after each change, for ever.

        Changes that come during a write become one more; so a crash of the process costs
        what was committed within one write.
        """
        while True:
            await self._changed.wait()
            self._changed.clear()
            content = encode(self._records)  # here, not in the thread: memories change
            writing = asyncio.ensure_future(asyncio.to_thread(self._store.write, content))
            try:
                await asyncio.shield(writing)
            except asyncio.CancelledError:
                await asyncio.wait(
                    [writing]
                )  # a thread cannot be cancelled; `flush` comes after it
                raise

    def flush(self) -> None:
        """Write now; for the end, when no sweep runs any more."""
        self._store.save(self._records)
