"""Finds the rows that the database refuses to delete, and deletes the others around them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

import asyncpg

from sweeperd.log.safe_text import bounded
from sweeperd.postgres.sql import rows as sql
from sweeperd.postgres.sql.rows import KeyRange, Slice, Target, Tid, Tids, Versions
from sweeperd.postgres.sqlstate import Fault, classify, describe
from sweeperd.postgres.transaction import fetch, fetchval, reading_rows
from sweeperd.sweep.execute.batch import TooManyRowsError
from sweeperd.sweep.execute.context import RunContext
from sweeperd.sweep.execute.session import Session
from sweeperd.sweep.execute.settle import delete_settled
from sweeperd.sweep.outcome.report import RunEndError
from sweeperd.sweep.survey.frame import table_frame

# A table that refuses this many rows one after the other refuses them all.
_MOST_IN_A_ROW: Final = 100
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
        self._frame = table_frame(run.sweep, search_path=run.limits.frame.search_path)

    async def delete(self, part: Slice, lane: str, limit: int) -> int | None:
        """Delete what can go of a slice, at most ``limit`` rows.

        Returns:
            How many rows others had locked; None when ``limit`` ended it early.

        Raises:
            RunEndError: Each row is refused, or the run must end.
        """
        places = await self._places(part)
        before = self._run.report.deleted_count
        locked = 0
        todo: list[list[Tid]] = [places] if places else []
        # Each turn takes one list away, or halves it: twice the rows minus the lists falls.
        while todo:
            self._run.turns.turn(lane, part)
            tids = todo.pop()
            await self._run.waits.gate()
            allowed = limit - (self._run.report.deleted_count - before)
            if allowed < 1:
                return None
            fault = await self._try(tids, lane) if len(tids) <= allowed else _TOO_MANY
            if fault is None:
                continue
            if len(tids) > 1:
                middle = len(tids) // 2
                todo += [tids[middle:], tids[:middle]]
            elif classify(fault) is Fault.ROW:
                await self._refused(tids[0], fault)
            else:
                locked += 1
        return locked

    async def _places(self, part: Slice) -> list[Tid]:
        """Return the places of the rows that may be deleted.

        The operator's ``where`` and ``condition`` may be what raises: the first is left out, and
        where the second raises, too, all rows of the slice are returned.
        """
        bare = replace(self._target, where=None)
        try:
            return await self._read_places(sql.places(bare, part, limit=_MOST_PLACES))
        except asyncpg.PostgresError as error:
            if classify(error) is not Fault.ROW or isinstance(part, KeyRange | Versions):
                raise
        return await self._read_places(sql.places_unjudged(bare, part, limit=_MOST_PLACES))

    async def _read_places(self, statement: sql.Statement) -> list[Tid]:
        connection = await self._session.get()
        self._run.turns.statement()
        async with reading_rows(connection, self._frame):
            return [row[0] for row in await fetch(connection, statement)]

    async def _try(self, tids: list[Tid], lane: str) -> Exception | None:
        """Delete rows as one batch; return the error when one of them is in the way."""
        run = self._run
        work = run.deletion(
            [(self._target, Tids(tuple(tids)))],
            len(tids),
            skip_locked=run.waits.skip_locked and run.lockable,
        )
        try:
            done = await delete_settled(run, self._session, self._fence, work)
        except (asyncpg.PostgresError, TooManyRowsError) as error:
            if classify(error) in {Fault.ROW, Fault.LOCK, Fault.TIMEOUT}:
                return error
            raise
        self._run.count(done, lane)
        if done.cancelled:
            raise asyncio.CancelledError
        return None

    async def _refused(self, tid: Tid, error: Exception) -> None:
        run = self._run
        key = await self._key_of(tid)
        if key is None:
            return  # the application moved or deleted it meanwhile
        table, words = self._target.table, describe(error)
        run.refuse_row(table, key, words)
        if run.counters.refused_in_a_row >= _MOST_IN_A_ROW:
            raise RunEndError(
                "failed", f"{table.quoted} refuses each row; the last, {key}: {words}"
            ) from error

    async def _key_of(self, tid: Tid) -> str | None:
        """Return a row's key, cut to size; None when the row has moved.

        A key that cannot be read, for its bytes are no text in the client's encoding or a type's
        output function fails, is named by its place: the row must not be refused once more.
        """
        connection = await self._session.get()
        for columns in (self._run.key_columns, ()):
            try:
                async with reading_rows(connection, self._frame):
                    key = await fetchval(connection, sql.row_key(self._target, tid, columns))
            except (asyncpg.PostgresError, ValueError) as error:
                if isinstance(error, asyncpg.PostgresError) and classify(error) is not Fault.ROW:
                    raise
            else:
                return None if key is None else bounded(str(key), _LONGEST_KEY)
        return f"ctid=({tid[0]},{tid[1]})"
