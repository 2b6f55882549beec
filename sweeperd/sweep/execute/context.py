"""One run: what is fixed in it, and the batches that its lanes share it for."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from sweeperd.config.models import SweepConfig
from sweeperd.log.event import Listener
from sweeperd.log.run_events import (
    BatchCommitted,
    BatchRolledBack,
    ConnectionLost,
    LeafSetAside,
    RowSkipped,
)
from sweeperd.postgres.catalog import Server
from sweeperd.postgres.connect import Database
from sweeperd.postgres.sql.slices import Slice
from sweeperd.postgres.sql.target import Table, Target
from sweeperd.postgres.sqlstate import Fault, classify, describe
from sweeperd.postgres.transaction import Connection, Frame
from sweeperd.sweep.archive.base import Archive, NoArchive
from sweeperd.sweep.execute.batch import (
    BatchLimits,
    CommitLostError,
    Deleted,
    Work,
    run_batch,
)
from sweeperd.sweep.execute.counters import Counters
from sweeperd.sweep.execute.deletion import Deletion
from sweeperd.sweep.execute.health_watch import HealthWatch
from sweeperd.sweep.execute.references import References
from sweeperd.sweep.execute.row_limits import RowLimits
from sweeperd.sweep.execute.suppressors import Suppressors
from sweeperd.sweep.execute.turns import Turns
from sweeperd.sweep.execute.waits import Waits
from sweeperd.sweep.guards.gate import Gate
from sweeperd.sweep.outcome.memory import SweepMemory
from sweeperd.sweep.outcome.report import LeafSetAsideError, Report
from sweeperd.sweep.outcome.sweep_pass import SweepPass
from sweeperd.sweep.survey.frame import table_frame
from sweeperd.sweep.survey.identity import Identity

_MOST_NAMED: Final = 10  # rows, in the log and in the report


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
        sweep_pass: How far all leaves have come, over runs.
        archive: Where rows go first.
        listener: Hears what happens.
        report: Fills as the run goes.
        counters: What the lanes have counted.
        row_limits: How many rows they may delete.
        waits: What they wait for.
        references: The foreign keys that keep rows.
        suppressors: The tables whose triggers may suppress deletes.
        hold_gate: Asked before each batch whether the sweep is held; None where nothing may.
        health: Makes the lanes wait while the server is unwell.
    """

    sweep: SweepConfig
    database: Database
    server: Server
    table: str
    key_columns: tuple[str, ...]
    lockable: bool
    limits: BatchLimits
    identity: Identity
    sweep_pass: SweepPass
    listener: Listener
    report: Report
    counters: Counters
    row_limits: RowLimits
    waits: Waits
    references: References
    suppressors: Suppressors
    archive: Archive = field(default_factory=NoArchive)
    hold_gate: Gate | None = None
    health: HealthWatch | None = None

    @property
    def turns(self) -> Turns:
        """Ends the run when one of its loops spins."""
        return self.waits.turns

    @property
    def read_frame(self) -> Frame:
        """Of reads of rows between batches: with a read's own timeouts, under the same path."""
        return table_frame(self.sweep, search_path=self.limits.frame.search_path)

    @property
    def memory(self) -> SweepMemory:
        """What the next run needs."""
        return self.report.memory

    def archiving_to(self, archive: Archive) -> RunContext:
        """Return the same run with an archive; its COMMIT waits for standbys where that asks."""
        limits = self.limits.synchronous() if archive.synchronous else self.limits
        return replace(self, archive=archive, limits=limits)

    async def batch(self, connection: Connection, lane: int, work: Work) -> Deleted:
        """Run ``work`` as one batch of this run; see `run_batch`."""
        self.turns.statement()
        if self.hold_gate is None:
            return await self._batch(connection, lane, work)
        async with self.hold_gate.batch():
            return await self._batch(connection, lane, work)

    async def _batch(self, connection: Connection, lane: int, work: Work) -> Deleted:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            done = await run_batch(connection, self.limits, lane, work, self.identity)
        except CommitLostError as error:  # it may be committed
            self._tell_lost(str(error))
            raise
        except Exception as error:
            seconds = round(loop.time() - begun, 6)
            self.listener(BatchRolledBack(self.sweep.name, seconds, describe(error)))
            if classify(error) is Fault.LOST:
                self._tell_lost(describe(error))
            raise
        gone: Counter[Table] = Counter()
        for table, (rows, _) in zip(work.tables, done.by_slice, strict=True):
            gone[table] += rows
        self.counters.deleted_from(gone)
        return done

    def _tell_lost(self, reason: str) -> None:
        self.listener(ConnectionLost(self.sweep.name, self.database.name, reason))

    def deletion(
        self,
        slices: Sequence[tuple[Target, Slice]],
        limit: int,
        *,
        skip_locked: bool = False,
        watch: int = 0,
    ) -> Deletion:
        """Return the work of deleting slices as this run does."""
        free = tuple((self.references.leave_out(target), part) for target, part in slices)
        return Deletion(
            free,
            limit,
            skip_locked,
            never_waits=self.limits.skip_locked_from_start,
            is_patient=not self.waits.skip_locked,
            watch=watch,
            archive=self.archive.table,
        )

    def refuse_row(self, table: Table, key: str, reason: str) -> None:
        """Count a row that is stepped over; the first ones are named."""
        self.rows_refused(table, 1, reason)
        if self.counters.named_rows < _MOST_NAMED:
            self.counters.named_rows += 1
            self.report.warn(f"row {key} of {table.quoted} was stepped over: {reason}")
            self.listener(RowSkipped(self.sweep.name, table.quoted, key, reason))

    def rows_refused(self, table: Table, rows: int, reason: str) -> None:
        """Count rows that are stepped over: refused ones, or what stands among such."""
        leaf = self.leaf_of(table)
        self.counters.rows_refused(leaf, rows, reason)
        if leaf is not None:
            self.sweep_pass.stepped_over(leaf)

    def leaf_of(self, table: Table) -> str | None:
        """Return the key in the pass of the leaf that a table is."""
        relation = self.identity.relations.get((table.schema, table.name))
        return str(relation.oid) if relation is not None else None

    def set_aside(self, leaf: str, shown: str, end: LeafSetAsideError) -> None:
        """Leave a leaf out for the rest of this run.

        Args:
            leaf: Its key in the pass.
            shown: Its name.
            end: Why.
        """
        self.waits.blocked = None
        self.counters.set_aside.append(end)
        self.sweep_pass.put_aside(leaf, end.reason)
        self.report.warn(f"{shown} is set aside for this run: {end.reason}")
        self.listener(LeafSetAside(self.sweep.name, shown, end.reason))

    def count(self, done: Deleted, lane: str) -> None:
        """Count a committed batch."""
        self.counters.batch_committed(done.rows)
        self.waits.blocked = None
        if done.xid is not None and self.memory.facts is not None:
            self.memory.facts = replace(self.memory.facts, committed_xid=done.xid)
        self.waits.delay("rate_limit", self.row_limits.pause_after(done.rows))
        self.listener(
            BatchCommitted(
                self.sweep.name,
                lane,
                done.rows,
                seconds=round(done.seconds, 6),
                commit_seconds=round(done.commit_seconds, 6),
                archived=0 if isinstance(self.archive, NoArchive) else done.rows,
            )
        )
