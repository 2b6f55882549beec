"""What is still expired after a whole pass that met no error: whether somebody suppresses deletes.

A BEFORE DELETE trigger that returns NULL, a policy that shows a row and does not let it be deleted,
or a rule leave the row without an error. Such a run is not drained.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import asyncpg

from sweeperd.postgres.catalog import Relation, quote_if_needed
from sweeperd.postgres.proof import Proof
from sweeperd.postgres.sql import batch as sql_batch
from sweeperd.postgres.sql import dependents as sql_dependents
from sweeperd.postgres.sql import rows as sql
from sweeperd.postgres.sql.rows import Table, Tid, Tids
from sweeperd.postgres.sqlstate import SERVER_ERRORS, Fault, classify
from sweeperd.postgres.transaction import (
    Connection,
    Frame,
    fence_key,
    fetch,
    reading,
    reading_rows,
)
from sweeperd.sweep.execute.batch import LaneTakenError, TooManyRowsError
from sweeperd.sweep.execute.context import RunContext
from sweeperd.sweep.execute.deletion import Deletion
from sweeperd.sweep.execute.session import Session
from sweeperd.sweep.execute.settle import delete_settled
from sweeperd.sweep.survey.frame import table_frame
from sweeperd.sweep.survey.target import Leaf

_MOST_ROWS: Final = 10_000
_MOST_SECONDS: Final = 1.0
_TRIED: Final = 100  # rows deleted once more, as a proof
_ROUNDS: Final = 3
_MOST_NAMED: Final = 3
_LANE: Final = "remaining"


async def conclude(
    run: RunContext, leaves: Sequence[Leaf], session: Session, *, expected: bool
) -> None:
    """Name the end of a whole pass: drained only when it left nothing behind.

    Args:
        run: The run, whose lanes are at their ends.
        leaves: What was swept.
        session: A connection of the run.
        expected: Whether expired rows were seen before the first batch.

    Raises:
        RunEndError: The run must end otherwise.
    """
    run.memory.cursors.clear()
    report = run.report
    locked = run.counters.locked
    await _count_kept(run, leaves, await session.get())
    if run.counters.refused_rows:
        report.fail(
            f"{run.counters.refused_rows} rows were refused by the database and stepped over; "
            f"the last: {run.counters.last_refusal}"
        )
    elif left := await _suppressed(run, leaves, session, expected=expected):
        # a row that was locked first and then not deleted was taken for one that others have locked
        counted = max(locked, sum(rows for rows, _ in left))
        report.skipped_count = counted + run.counters.kept_referenced
        report.fail("; ".join(text for _, text in left[:_MOST_NAMED]))
    elif locked:
        report.finish("throttled", f"{locked} expired rows are locked by other transactions")
    else:
        report.finish("drained")


async def _count_kept(run: RunContext, leaves: Sequence[Leaf], connection: Connection) -> None:
    """Tell how many expired rows only foreign keys keep: parents with live children are normal."""
    kept = await run.references.count_kept(connection, [leaf.target for leaf in leaves])
    if kept is None:
        run.report.warn("rows that foreign keys keep were not counted: that took longer than 1 s")
    else:
        run.counters.rows_kept(kept)


async def _suppressed(
    run: RunContext, leaves: Sequence[Leaf], session: Session, *, expected: bool
) -> list[tuple[int, str]]:
    """Return for each leaf how many expired rows a DELETE leaves without an error, and why.

    Rows that the application committed behind the pass are expired, too, and belong to the next.
    So some of what is found is deleted once more: what a DELETE leaves again is suppressed.
    """
    if run.row_limits.is_reached:
        return []
    nothing_went = expected and not run.report.deleted_count
    deadline = asyncio.get_running_loop().time() + _MOST_SECONDS
    found: list[tuple[int, str]] = []
    try:
        triggers = await _suppressing_triggers(await session.get(), leaves)
        for leaf in leaves:
            cause = triggers.get(leaf.relation.oid)
            if not (cause or leaf.relation.row_security or nothing_went):
                continue
            rows = await _Look(run, leaf, session, deadline).stuck()
            if rows:
                found.append((rows, _text(leaf.relation, rows, cause)))
    except (TooManyRowsError, LaneTakenError):
        pass  # what else there is, the next pass tells
    except SERVER_ERRORS as error:
        if classify(error) is Fault.FATAL:
            raise
    return found


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


class _Look:
    """A look at one leaf."""

    def __init__(self, run: RunContext, leaf: Leaf, session: Session, deadline: float) -> None:
        self._run = run
        self._target = run.references.leave_out(leaf.target, parents=True)
        self._one_heap = leaf.one_heap
        self._session = session
        self._deadline = deadline
        server = run.server.database
        self._fence = fence_key(server, run.table, run.sweep.name, _LANE)

    async def stuck(self) -> int:
        """Return how many expired rows a DELETE leaves; 0 when none, or when time is over."""
        if not self._one_heap:  # without places nothing can be tried again
            return await self._count() if not self._run.report.deleted_count else 0
        for _ in range(_ROUNDS):
            places = await self._places()
            if not places:
                return 0
            deleted, left = await self._try(places)
            # a trigger may have updated the row instead, which has another place then; of two steps
            # the first leaves out what others have locked
            moved = not deleted and not self._target.two_steps
            if left or moved:
                return await self._count()
        return 0

    async def _places(self) -> list[Tid]:
        rows = await self._read(sql.places(self._target, limit=_TRIED))
        return [row[0] for row in rows or ()]

    async def _count(self) -> int:
        rows = await self._read(sql.count(self._target, limit=_MOST_ROWS))
        return int(rows[0][0]) if rows else 0

    async def _read(self, statement: sql.Statement) -> list[asyncpg.Record] | None:
        """Read within what is left of the time; None when it is over."""
        left = self._deadline - asyncio.get_running_loop().time()
        if left <= 0:
            return None
        frame = table_frame(self._run.sweep, search_path=self._run.limits.frame.search_path)
        frame = replace(frame, statement_timeout_ms=max(int(left * 1000), 1))
        connection = await self._session.get()
        try:
            async with reading_rows(connection, frame):
                return await fetch(connection, statement)
        except asyncpg.PostgresError as error:
            if classify(error) in {Fault.TIMEOUT, Fault.ROW, Fault.LOCK}:
                return None
            raise

    async def _try(self, places: list[Tid]) -> tuple[int, int]:
        """Delete rows as one batch; return how many went and how many are there all the same.

        What others have locked raises, or with two steps is left out.
        """
        await self._run.waits.gate()
        part = Tids(tuple(places))

        run = self._run
        deletion = run.deletion([(self._target, part)], len(places))
        done = await delete_settled(
            run, self._session, self._fence, deletion, lambda kept: _Trial(kept, run.lockable)
        )
        self._run.count(done, _LANE)
        if done.cancelled:
            raise asyncio.CancelledError
        return done.rows, done.skipped


async def _suppressing_triggers(connection: Connection, leaves: Sequence[Leaf]) -> dict[int, str]:
    """Return a BEFORE DELETE trigger of each leaf that has one."""
    oids = [leaf.relation.oid for leaf in leaves if leaf.relation.has_triggers]
    if not oids:
        return {}
    async with reading(connection, Frame()):
        rows = await connection.fetch(sql_dependents.BEFORE_DELETE, oids)
    return {row["oid"]: row["name"] for row in rows}


def _text(relation: Relation, rows: int, trigger: str | None) -> str:
    many = f"{rows} or more" if rows >= _MOST_ROWS else str(rows)
    left = f"{many} expired rows of {relation.shown} are left, without an error: "
    if trigger is not None:
        name = quote_if_needed(trigger)
        return left + (
            f"the BEFORE DELETE trigger {name} suppresses their delete, for it does not return OLD;"
            f" leave these rows out with where, or ALTER TABLE {relation.shown} "
            f"DISABLE TRIGGER {name}"
        )
    if relation.row_security:
        role = quote_if_needed(relation.role)
        return left + (
            f"policies show them to {role}, and none lets it delete them; "
            f"CREATE POLICY sweep ON {relation.shown} FOR DELETE TO {role} USING (true)"
        )
    return left + "something suppresses their delete; look for rules and triggers of the table"
