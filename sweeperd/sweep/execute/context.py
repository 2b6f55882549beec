"""One run: what is fixed in it, and the batches that its lanes share it for."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from sweeperd.config.models import SweepConfig
from sweeperd.log.event import Listener
from sweeperd.log.run_events import BatchCommitted
from sweeperd.postgres.catalog import Server
from sweeperd.postgres.connect import Database
from sweeperd.postgres.sql.rows import Slice, Table, Target
from sweeperd.postgres.transaction import CommitUnknownError, Connection
from sweeperd.sweep.archive.base import Archive, NoArchive
from sweeperd.sweep.execute.batch import BatchLimits, Deleted, Work, delete_slice, run_batch
from sweeperd.sweep.execute.counters import Counters
from sweeperd.sweep.execute.row_limits import RowLimits
from sweeperd.sweep.execute.turns import Turns
from sweeperd.sweep.execute.waits import Waits
from sweeperd.sweep.guards.gate import Gate
from sweeperd.sweep.outcome.memory import SweepMemory
from sweeperd.sweep.outcome.report import Report
from sweeperd.sweep.survey.identity import Identity


@dataclass(frozen=True)
class RunContext:
    """What is fixed in one run, and what its lanes share.

    Attributes:
        sweep: The sweep's settings, as they were when the run began.
        database: Where it runs.
        server: What was read of the server when the run began.
        table: The swept table's qualified, quoted name; part of every lock key.
        key_columns: By which a row is named; none where the table has no key.
        lockable: Whether this role may lock rows, for SKIP LOCKED.
        limits: What bounds a batch in time.
        identity: Proves in each batch that the tables are those surveyed.
        archive: Where rows go first.
        listener: Hears what happens.
        report: Fills as the run goes.
        counters: What the lanes have counted.
        row_limits: How many rows they may delete.
        waits: What they wait for.
        hold_gate: Asked before each batch whether the sweep is held; None where nothing may.
    """

    sweep: SweepConfig
    database: Database
    server: Server
    table: str
    key_columns: tuple[str, ...]
    lockable: bool
    limits: BatchLimits
    identity: Identity
    listener: Listener
    report: Report
    counters: Counters
    row_limits: RowLimits
    waits: Waits
    archive: Archive = field(default_factory=NoArchive)
    hold_gate: Gate | None = None
    _touched: dict[Connection, Counter[Table]] = field(default_factory=dict)

    @property
    def turns(self) -> Turns:
        """Ends the run when one of its loops spins."""
        return self.waits.turns

    @property
    def memory(self) -> SweepMemory:
        """What the next run needs."""
        return self.report.memory

    def archiving_to(self, archive: Archive) -> RunContext:
        """Return the same run with an archive; its COMMIT waits for standbys where that asks."""
        limits = self.limits.synchronous() if archive.synchronous else self.limits
        return replace(self, archive=archive, limits=limits)

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
            self.counters.deleted_from(self._touched[connection])
            return done
        finally:
            self.archive.end(connection)
            self._touched.pop(connection, None)

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
        touched[target.table] += 0  # locked from now on, even if nothing is deleted
        rows, skipped = await delete_slice(
            connection, target, part, limit=limit, skip_locked=skip_locked, archive=self.archive
        )
        touched[target.table] += rows
        return rows, skipped

    def count(self, done: Deleted, lane: str) -> None:
        """Count a committed batch."""
        self.counters.batch_committed(done.rows)
        self.waits.blocked = None
        if done.xid is not None and self.memory.facts is not None:
            self.memory.facts = replace(self.memory.facts, committed_xid=done.xid)
        self.waits.delay("rate_limit", self.row_limits.pause_after(done.rows))
        self.listener(BatchCommitted(self.sweep.name, lane, done.rows, round(done.seconds, 6)))
