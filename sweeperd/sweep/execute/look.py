"""One look at the expired rows that a pass left in a leaf: how many there are, and why they stay.

Rows that the application committed behind the pass are expired, too, and belong to the next one. So
a sample of what is found is deleted once more: what a DELETE leaves or refuses again is stuck.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import asyncpg

from sweeperd.postgres.proof import Proof
from sweeperd.postgres.sql import batch as sql_batch
from sweeperd.postgres.sql import rows as sql
from sweeperd.postgres.sql.slices import Tid, Tids
from sweeperd.postgres.sql.target import Statement, Table, Target
from sweeperd.postgres.sqlstate import Fault, classify, raised_in
from sweeperd.postgres.transaction import Connection, fence_key, fetch, locking_rows, reading_rows
from sweeperd.sweep.execute.batch import Deleted, TooManyRowsError
from sweeperd.sweep.execute.context import RunContext
from sweeperd.sweep.execute.deletion import Deletion
from sweeperd.sweep.execute.session import Session
from sweeperd.sweep.execute.settle import delete_settled
from sweeperd.sweep.outcome.remaining import MOST_ROWS, Reason
from sweeperd.sweep.survey.target import Leaf

_TRIED: Final = 100  # rows deleted once more
_SAMPLED_BLOCKS: Final = 200
_SAMPLE_SECONDS: Final = 0.5
_LANE: Final = "remaining"
_FOREIGN_KEY: Final = frozenset({"23503", "23001"})

Cause = tuple[Reason, str]


@dataclass(frozen=True)
class Found:
    """What stays in a leaf.

    Attributes:
        by_reason: Reason, what causes it, and rows.
        is_least: Whether there may be more rows.
        unknown: Whether time was over before anything was known.
    """

    by_reason: tuple[tuple[Reason, str, int], ...] = ()
    is_least: bool = False
    unknown: bool = False


class Look:
    """A look at one leaf.

    Args:
        run: The run.
        leaf: The leaf; its target has the cutoff of the pass's first run.
        session: A connection of the run.
        deadline: When it must end, on the loop's clock.
        moves: Whether a trigger may have updated a row instead of letting it be deleted.
    """

    def __init__(
        self, run: RunContext, leaf: Leaf, session: Session, deadline: float, *, moves: bool
    ) -> None:
        self._run = run
        self._all = leaf.target
        self._target = run.references.leave_out(leaf.target, parents=True)
        self._one_heap = leaf.one_heap
        self._blocks = leaf.blocks
        self._session = session
        self._deadline = deadline
        self._moves = moves
        self._is_stepped_over = leaf.key in run.counters.stepped_over
        self._fence = fence_key(run.server.database, run.table, run.sweep.name, _LANE)
        self._causes: Counter[Cause] = Counter()
        self._went = 0

    async def count(self) -> int | None:
        """Return how many expired rows there are, bounded; None when that takes too long."""
        rows = await self._read(sql.count(self._target, limit=MOST_ROWS))
        return int(rows[0][0]) if rows is not None else None

    async def count_each(self, targets: Sequence[Target]) -> list[int] | None:
        """Return how many expired rows several tables have; None when that takes too long."""
        rows = await self._read(sql.count_each(targets, limit=MOST_ROWS))
        return [int(count) for count in rows[0].values()] if rows is not None else None

    async def unreadable(self) -> int:
        """Return how many rows have text in a form that never expires.

        Where counting takes too long, a sample tells of some.
        """
        for percent in (100.0, min(100.0 * _SAMPLED_BLOCKS / max(self._blocks, 1), 100.0)):
            statement = sql.count_unreadable(self._target, limit=MOST_ROWS, percent=percent)
            if statement is None:
                return 0
            rows = await self._read(statement)
            if rows is not None:
                return int(rows[0][0])
            self._deadline += _SAMPLE_SECONDS
        return 0

    async def at_rows(self) -> Found:
        """Return what stays, by reason."""
        kept = await self._run.references.count_kept(
            await self._session.get(), self._all, self._seconds_left
        )
        others = await self._others()
        told = others.by_reason
        if kept:
            by = self._run.references.names(self._all.table)
            told = (("referenced", by, kept), *told)
        is_least = others.is_least or (kept or 0) >= MOST_ROWS
        return replace(
            others, by_reason=told, is_least=is_least, unknown=others.unknown or kept is None
        )

    async def _others(self) -> Found:
        """Return what no known foreign key keeps, by reason."""
        left = await self.count()
        if left is None:
            return Found(unknown=True)
        is_least = left >= MOST_ROWS
        if not left:
            return Found()
        if not self._one_heap:
            return self._by_what_the_run_met(left, is_least=is_least)
        locked = await self._locked(left)
        await self._try_again(await self._places(free=locked > 0))
        by_reason = self._scaled(left - locked - self._went)
        if locked:
            by_reason["locked", ""] += locked
        told = tuple((reason, by, rows) for (reason, by), rows in by_reason.items() if rows)
        return Found(told, is_least=is_least)

    def _scaled(self, rows: int) -> Counter[Cause]:
        """Share out rows as the sample of them was, of which some went.

        Rows that could have gone are those around others, of slices that were stepped over; or
        the application committed them behind the pass, and they belong to the next one.
        """
        stuck = self._causes.total()
        if rows <= stuck or not stuck:
            return Counter(self._causes)
        tried = stuck + self._went
        scaled = Counter({cause: rows * seen // tried for cause, seen in self._causes.items()})
        if self._went and self._is_stepped_over:
            scaled["stepped over", ""] += rows * self._went // tried
        if not self._went:
            scaled[self._causes.most_common(1)[0][0]] += rows - scaled.total()
        return scaled

    def _by_what_the_run_met(self, left: int, *, is_least: bool) -> Found:
        """Judge by what the run stepped over: without places no row can be tried again."""
        counters = self._run.counters
        reason: Reason = "suppressed"
        if counters.refused_rows:
            reason = "refused"
        elif counters.locked:
            reason = "locked"
        elif self._run.report.deleted_count:
            return Found()
        return Found(((reason, "", left),), is_least=is_least)

    @property
    def _may_lock(self) -> bool:
        met = self._run.waits.skip_locked or self._target.two_steps
        return self._run.lockable and met

    async def _locked(self, left: int) -> int:
        """Return how many of the rows others have locked, where the run met such rows."""
        if not self._may_lock:
            return 0
        rows = await self._read(sql.count_free(self._target, limit=MOST_ROWS), locks=True)
        return max(left - int(rows[0][0]), 0) if rows else 0

    async def _places(self, *, free: bool) -> list[Tid]:
        """Return the places of some rows, of anywhere; if asked, of what nobody has locked."""
        limited = sql.free_places if free else sql.places
        rows = await self._read(limited(self._target, limit=MOST_ROWS), locks=free) or []
        return [row[0] for row in random.sample(rows, min(_TRIED, len(rows)))]

    async def _try_again(self, places: list[Tid]) -> None:
        """Delete rows once more, halving what is refused, and count what stays by its cause."""
        todo = [places] if places else []
        # Each turn takes one list away, or halves it: twice the rows minus the lists falls.
        while todo and self._seconds_left > 0:
            self._run.turns.turn(_LANE, len(todo))
            tids = todo.pop()
            try:
                done = await self._delete(tids)
            except (asyncpg.PostgresError, TooManyRowsError) as error:
                fault = classify(error)
                if fault not in {Fault.ROW, Fault.LOCK, Fault.TIMEOUT, Fault.FATAL}:
                    raise
                if len(tids) > 1:
                    middle = len(tids) // 2
                    todo += [tids[middle:], tids[:middle]]
                else:
                    self._causes[_cause(error, fault)] += 1
            else:
                self._take(len(tids), done)

    def _take(self, tried: int, done: Deleted) -> None:
        """Take how many rows went; of the others some are there, some were moved or locked."""
        self._went += done.rows
        stuck = done.skipped
        if self._moves and not done.rows and not self._target.two_steps:
            stuck = tried  # a trigger has updated them instead: they have other places
        if stuck:
            self._causes["suppressed", ""] += stuck
        if self._target.two_steps and tried > done.rows + stuck:
            self._causes["locked", ""] += tried - done.rows - stuck

    async def _delete(self, tids: list[Tid]) -> Deleted:
        """Delete rows as one batch; what it tells as skipped are rows that are there and free."""
        run = self._run
        await run.waits.gate()
        deletion = run.deletion([(self._target, Tids(tuple(tids)))], len(tids))
        refused = run.counters.refused_rows
        done = await delete_settled(
            run, self._session, self._fence, deletion, lambda kept: _Trial(kept, run.lockable)
        )
        run.count(done, _LANE)
        if too_large := run.counters.refused_rows - refused:
            self._causes["refused", "too large for a line of the archive"] += too_large
        if done.cancelled:
            raise asyncio.CancelledError
        return done

    @property
    def _seconds_left(self) -> float:
        return self._deadline - asyncio.get_running_loop().time()

    async def _read(
        self, statement: Statement, *, locks: bool = False
    ) -> list[asyncpg.Record] | None:
        """Read within what is left of the time; None when it is over."""
        left = self._seconds_left
        if left <= 0:
            return None
        frame = replace(self._run.read_frame, statement_timeout_ms=max(int(left * 1000), 1))
        connection = await self._session.get()
        self._run.turns.statement()
        try:
            async with (locking_rows if locks else reading_rows)(connection, frame):
                return await fetch(connection, statement)
        except asyncpg.PostgresError as error:
            if classify(error) in {Fault.TIMEOUT, Fault.ROW, Fault.LOCK}:
                return None
            raise


@dataclass(frozen=True)
class _Trial:
    """A deletion that notes what it left, of which rows that others have locked are no part."""

    deletion: Deletion
    lockable: bool

    @property
    def tables(self) -> tuple[Table, ...]:
        return self.deletion.tables

    @property
    def locking_statements(self) -> int:
        return self.deletion.locking_statements

    @property
    def is_patient(self) -> bool:
        return self.deletion.is_patient

    async def do(self, connection: Connection, opening: str) -> int | None:
        answer = await self.deletion.do(connection, opening)
        ((target, part),) = self.deletion.slices
        await connection.execute(sql_batch.note_left_over(target, part, free=self.lockable))
        return answer

    def judge(self, answer: int | None, proof: Proof) -> tuple[tuple[int, int], ...]:
        ((rows, _),) = self.deletion.judge(answer, replace(proof, skipped=proof.skipped[:1]))
        return ((rows, proof.skipped[-1]),)


def _cause(error: Exception, fault: Fault) -> Cause:
    """Return why one row cannot be deleted."""
    if fault is Fault.LOCK:
        return "locked", ""
    if not isinstance(error, asyncpg.PostgresError) or fault is Fault.TIMEOUT:
        return "refused", "one row takes longer than max_statement"
    function = raised_in(error)
    constraint = getattr(error, "constraint_name", None)
    if function is not None:
        return "refused", f"raised in {function}"
    if error.sqlstate in _FOREIGN_KEY:
        return "referenced", f"foreign key {constraint} of {getattr(error, 'table_name', None)}"
    return "refused", f"constraint {constraint}" if constraint else str(error).partition("\n")[0]
