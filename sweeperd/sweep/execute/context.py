"""What the lanes of one run share: its limits, its report, its waits and its end."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from sweeperd.config.models import SweepConfig
from sweeperd.host.clock import Clock
from sweeperd.log.event import Listener
from sweeperd.log.events import SweepThrottled
from sweeperd.log.run_events import BatchCommitted, Waiting
from sweeperd.postgres.catalog import Server
from sweeperd.postgres.connect import Database
from sweeperd.postgres.sql.rows import Slice, Table, Target
from sweeperd.postgres.transaction import CommitUnknownError, Connection
from sweeperd.sweep.archive.base import Archive, NoArchive
from sweeperd.sweep.execute.batch import BatchLimits, Deleted, Work, delete_slice, run_batch
from sweeperd.sweep.execute.turns import Turns
from sweeperd.sweep.guards.gate import Gate
from sweeperd.sweep.outcome.memory import Cursor
from sweeperd.sweep.outcome.report import Report, RunEndError
from sweeperd.sweep.survey.identity import Identity


@dataclass
class Run:
    """One run under way.

    Attributes:
        blocked: Why the run waits at this moment, and the outcome if it ends so.
        table: The swept table's qualified, quoted name; part of every fence's key.
        gone: Rows deleted by table, since anybody looked at what they left behind.
        skip_locked: A lock conflict was met: for the rest of the run nobody is waited for.
        hold_gate: Asked before each batch whether the sweep is held; None where nothing may.
        turns: Ends the run when one of its loops spins.
    """

    sweep: SweepConfig
    database: Database
    clock: Clock
    listener: Listener
    report: Report
    stop: asyncio.Event
    server: Server
    limits: BatchLimits
    max_rows: int | None
    table: str = ""
    key_columns: tuple[str, ...] = ()
    lockable: bool = True
    identity: Identity = field(default_factory=Identity)
    archive: Archive = field(default_factory=NoArchive)
    hold_gate: Gate | None = None
    skip_locked: bool = False
    blocked: RunEndError | None = None
    refused_in_a_row: int = 0
    locked_rows: dict[str, int] = field(default_factory=dict)
    refused_rows: int = 0
    gone: dict[Table, int] = field(default_factory=dict)
    turns: Turns = field(default_factory=Turns)
    _touched: dict[Connection, Counter[Table]] = field(default_factory=dict)
    _reserved: int = 0
    _next_start: float = 0.0
    _why: str = ""

    async def gate(self) -> None:
        """Wait for what a batch must wait for; always between transactions.

        Raises:
            RunEndError: The run must not go on.
        """
        self.check()
        while (ahead := self._next_start - self.clock.elapsed()) > 0:
            self.turns.turn(self._why)
            await self.wait(self._why, ahead)
            self.check()

    def check(self) -> None:
        """Raise RunEndError when the run was stopped, its cap is reached or its window closed."""
        self.check_time()
        if self.max_rows is not None and self.report.deleted_count >= self.max_rows:
            raise RunEndError("capped", f"max_rows = {self.max_rows} reached")

    def check_time(self) -> None:
        """Raise RunEndError when the run was stopped or its window closed."""
        if self.stop.is_set():
            if self.hold_gate is not None:
                self.hold_gate.check()  # the daemon stops a run whose sweep is held
            raise RunEndError("stopped", "asked to stop")
        if self.sweep.window and not self.sweep.window.contains(self.clock.now()):
            raise RunEndError("capped", f"the window {self.sweep.window} closed")

    @property
    def narrowest(self) -> str:
        """The key that limits a batch's rows at this moment."""
        limits = self._row_limits()
        return min(limits, key=lambda key: limits[key])

    def _row_limits(self) -> dict[str, int]:
        limits = {"max_batch_rows": self.sweep.max_batch_rows}
        if self.sweep.rate_limit:
            limits["rate_limit"] = self.sweep.rate_limit
        if self.max_rows is not None:
            limits["max_rows"] = self.max_rows - self.report.deleted_count
        return limits

    @contextmanager
    def allowance(self) -> Iterator[int]:
        """Reserve rows for one batch, so that lanes together stay below ``max_rows``."""
        limits = self._row_limits()
        if "max_rows" in limits:
            limits["max_rows"] -= self._reserved
        rows = min(limits.values())
        self._reserved += max(rows, 0)
        try:
            yield rows
        finally:
            self._reserved -= max(rows, 0)

    async def batch(self, connection: Connection, fence: int, work: Work) -> Deleted:
        """Run ``work`` as one batch of this run; see `run_batch`."""
        self.turns.statement()
        if self.hold_gate is None:
            return await self._batch(connection, fence, work)
        async with self.hold_gate.batch():
            return await self._batch(connection, fence, work)

    async def _batch(self, connection: Connection, fence: int, work: Work) -> Deleted:
        self._touched[connection] = Counter()
        self.archive.begin(connection)
        try:
            done = await run_batch(connection, self.limits, fence, work, self._finish)
        except CommitUnknownError:
            raise  # the rows may be gone: what was kept of them stays
        except BaseException:
            self.archive.give_up(connection)
            raise
        else:
            self._remember_gone(self._touched[connection])
            return done
        finally:
            self.archive.end(connection)
            self._touched.pop(connection, None)

    def _remember_gone(self, touched: Counter[Table]) -> None:
        """Add up over runs: a backlog may take many, of which the last is small."""
        memory = self.report.memory
        memory.add_deleted({table.quoted: rows for table, rows in touched.items()})
        for table in touched:
            self.gone[table] = memory.deleted_since_vacuum[table.quoted]

    async def _finish(self, connection: Connection) -> str | None:
        """Prove and secure what a batch did, after its DELETE, whose lock keeps what is proved."""
        xid = await self.identity.prove(connection, self._touched[connection])
        await self.archive.secure(connection)
        return xid

    async def delete(
        self,
        connection: Connection,
        target: Target,
        part: Slice,
        limit: int,
        *,
        skip_locked: bool,
    ) -> tuple[int, int]:
        """Delete a slice's expired rows as this run does; see `delete_slice`."""
        touched = self._touched[connection]
        touched[target.table] += 0  # locked from now on, even if nothing goes
        rows, skipped = await delete_slice(
            connection, target, part, limit=limit, skip_locked=skip_locked, archive=self.archive
        )
        touched[target.table] += rows
        return rows, skipped

    def count(self, done: Deleted, lane: str) -> None:
        """Count a committed batch."""
        self.report.deleted_count += done.rows
        self.report.batches += 1
        self.blocked = None
        memory = self.report.memory
        if done.xid is not None and memory.facts is not None:
            memory.facts = replace(memory.facts, committed_xid=done.xid)
        if done.rows:
            self.refused_in_a_row = 0
        if self.sweep.rate_limit:
            self.delay("rate_limit", done.rows / self.sweep.rate_limit)
        self.listener(BatchCommitted(self.sweep.name, lane, done.rows, done.seconds))

    def delay(self, reason: str, seconds: float) -> None:
        """Let the next batch of any lane start later; `gate` waits for it."""
        if seconds > 0:
            self._next_start = max(self._next_start, self.clock.elapsed()) + seconds
            self._why = reason

    def count_skipped(self) -> None:
        """Bring the report's skipped rows up to date."""
        self.report.skipped_count = self.refused_rows + sum(self.locked_rows.values())

    async def throttle(self, reason: str, seconds: float) -> None:
        """Wait because the server is unwell; if the run ends meanwhile, that is why."""
        first = self.blocked is None or self.blocked.reason != reason
        self.blocked = RunEndError("throttled", reason)
        if first:
            self.listener(SweepThrottled(self.sweep.name, reason, round(seconds, 3)))
        await self.wait(reason, seconds)

    async def wait(self, reason: str, seconds: float) -> None:
        """Wait outside any transaction; a stop ends the wait."""
        self.turns.wait()
        self.listener(Waiting(self.sweep.name, reason, round(seconds, 3)))
        begun = self.clock.elapsed()
        waits = {
            asyncio.ensure_future(self.clock.sleep(seconds)),
            asyncio.ensure_future(self.stop.wait()),
        }
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pending in waits:
                pending.cancel()
            waited = self.report.waited_seconds
            waited[reason] = waited.get(reason, 0.0) + self.clock.elapsed() - begun

    def remember(self, lane: str, cursor: Cursor | None) -> None:
        """Keep a lane's cursor for the next run."""
        self.report.memory.keep_cursor(lane, cursor)

    def forget_lanes(self) -> None:
        """Drop all cursors at the end of a whole pass: the next begins with all rows.

        Other numbers of workers leave cursors of lanes that no longer exist.
        """
        self.report.memory.cursors.clear()
