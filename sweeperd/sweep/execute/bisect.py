"""Finds the rows that the database refuses to delete, and deletes the others around them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

import asyncpg

from sweeperd.log.safe_text import bounded
from sweeperd.postgres.sql import rows as sql
from sweeperd.postgres.sql.slices import KeyRange, Slice, Tid, Tids, Versions
from sweeperd.postgres.sql.target import Statement, Target
from sweeperd.postgres.sqlstate import Fault, classify, describe, is_referenced
from sweeperd.postgres.transaction import fetch, fetchval, reading_rows
from sweeperd.sweep.execute.batch import Deleted, TooManyRowsError
from sweeperd.sweep.execute.context import RunContext
from sweeperd.sweep.execute.session import Session
from sweeperd.sweep.execute.settle import delete_settled

# Rows are searched for in this part of a run's time. From then on, and where as many rows as this
# are in the way one after the other, a slice is cut into a few parts instead: each that is refused
# is stepped over, and where twice as many are, the whole slice.
_SHARE_OF_RUN: Final = 0.25
_MOST_IN_A_ROW: Final = 1_000
_PARTS: Final = 16
_LONGEST_KEY: Final = 200  # characters
_MOST_PLACES: Final = 1_000_000
_TOO_MANY: Final = TooManyRowsError()


class Bisection:
    """Halves a slice until each row that cannot go stands alone.

    Each half is a batch of its own, with fence, timeouts and the expired predicate.
    """

    def __init__(self, run: RunContext, target: Target, session: Session, fence: int) -> None:
        self._run = run
        self._target = target
        self._session = session
        self._fence = fence

    async def delete(self, part: Slice, lane: str, limit: int) -> int | None:
        """Delete what can go of a slice, at most ``limit`` rows; see `delete_places`."""
        places = await self.places(self._target, part)
        return await self.delete_places(places, lane, limit, len(places))

    async def delete_places(
        self, places: list[Tid], lane: str, limit: int, at_once: int
    ) -> int | None:
        """Delete what can go of some rows, in their order.

        Args:
            places: The rows.
            lane: The lane's name.
            limit: Rows that may be deleted.
            at_once: Rows of the first batch; one that goes well doubles it.

        Returns:
            How many rows others had locked; None when ``limit`` ended it early.

        Raises:
            RunEndError: The run must end.
        """
        counters = self._run.counters
        before = self._run.report.deleted_count
        locked = 0
        todo: list[list[Tid]] = [places] if places else []
        # Each turn takes one list away, or cuts it: twice the rows minus the lists falls.
        while todo:
            self._run.turns.turn(lane, places[0])
            tids = todo.pop()
            least = self._least(len(places))
            at_once = max(at_once, least)
            if len(tids) > at_once:
                todo += [tids[at_once:], tids[:at_once]]
                continue
            await self._run.waits.gate()
            allowed = limit - (self._run.report.deleted_count - before)
            if allowed < 1:
                return None
            fault = await self._try(tids, lane) if len(tids) <= allowed else _TOO_MANY
            if isinstance(fault, Deleted):
                locked += fault.skipped
                at_once = min(at_once * 2, max(limit, 1))
            elif is_referenced(fault) and await self._learn_references():
                todo.append(tids)
            elif len(tids) > (1 if fault is _TOO_MANY else least):
                middle = at_once = len(tids) // 2
                todo += [tids[middle:], tids[:middle]]
            elif is_referenced(fault) and self._run.references.to_itself(self._target.table):
                counters.refused_in_a_row += len(tids)  # a row below stays; counted at the end
            elif classify(fault) is Fault.LOCK:
                locked += len(tids)
                counters.refused_in_a_row += len(tids)
            else:
                await self._refused(tids, fault)
        return locked

    def _least(self, rows: int) -> int:
        """Return the number of rows below which a part of a slice is not halved any more."""
        counters = self._run.counters
        in_a_row = counters.refused_in_a_row // _MOST_IN_A_ROW
        if in_a_row > 1:
            return rows
        most = self._run.sweep.timeout.total_seconds() * _SHARE_OF_RUN
        is_searching = not in_a_row and counters.halving_seconds < most
        return 1 if is_searching else max(rows // _PARTS, 1)

    async def _learn_references(self) -> bool:
        connection = await self._session.get()
        return await self._run.references.learn(connection, [self._target])

    async def places(self, target: Target, part: Slice) -> list[Tid]:
        """Return the places of the rows of a slice that may be deleted.

        The operator's ``where`` and ``condition`` may be what raises: the first is left out, and
        where the second raises, too, all rows of the slice are returned.
        """
        bare = replace(target, where=None)
        try:
            return await self._read_places(sql.places(bare, part, limit=_MOST_PLACES))
        except asyncpg.PostgresError as error:
            if classify(error) is not Fault.ROW or isinstance(part, KeyRange | Versions):
                raise
        return await self._read_places(sql.places_unjudged(bare, part, limit=_MOST_PLACES))

    async def _read_places(self, statement: Statement) -> list[Tid]:
        connection = await self._session.get()
        self._run.turns.statement()
        async with reading_rows(connection, self._run.read_frame):
            return [row[0] for row in await fetch(connection, statement)]

    async def _try(self, tids: list[Tid], lane: str) -> Deleted | Exception:
        """Delete rows as one batch; return the error when one of them is in the way."""
        run = self._run
        work = run.deletion(
            [(self._target, Tids(tuple(tids)))],
            len(tids),
            skip_locked=run.waits.skip_locked and run.lockable,
        )
        begun = run.waits.clock.elapsed()
        try:
            done = await delete_settled(run, self._session, self._fence, work)
        except (asyncpg.PostgresError, TooManyRowsError) as error:
            run.counters.halving_seconds += run.waits.clock.elapsed() - begun
            if classify(error) in {Fault.ROW, Fault.LOCK, Fault.TIMEOUT}:
                return error
            raise
        run.count(done, lane)
        if done.cancelled:
            raise asyncio.CancelledError
        return done

    async def _refused(self, tids: list[Tid], error: Exception) -> None:
        """Step over rows; one that is in the way by itself is named."""
        run, words = self._run, describe(error)
        if classify(error) is Fault.TIMEOUT:
            most = run.limits.statement_seconds * 1000
            words = f"its delete takes longer than {most:.0f} ms (max_statement): {words}"
        if len(tids) > 1:
            run.rows_refused(self._target.table, len(tids), words)
            return
        key = await self._key_of(tids[0])
        if key is not None:  # else the application moved or deleted it meanwhile
            run.refuse_row(self._target.table, key, words)

    async def _key_of(self, tid: Tid) -> str | None:
        """Return a row's key, cut to size; None when the row has moved.

        A key that cannot be read, for its bytes are no text in the client's encoding or a type's
        output function fails, is named by its place: the row must not be refused once more.
        """
        connection = await self._session.get()
        for columns in (self._run.key_columns, ()):
            try:
                async with reading_rows(connection, self._run.read_frame):
                    key = await fetchval(connection, sql.row_key(self._target, tid, columns))
            except (asyncpg.PostgresError, ValueError) as error:
                if isinstance(error, asyncpg.PostgresError) and classify(error) is not Fault.ROW:
                    raise
            else:
                return None if key is None else bounded(str(key), _LONGEST_KEY)
        return f"ctid=({tid[0]},{tid[1]})"
