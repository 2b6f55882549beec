"""Expired rows of a lane that others had locked: gone back for, a few times, at its end."""

from __future__ import annotations

import asyncio
from typing import Final

from sweeperd.postgres.sqlstate import SERVER_ERRORS, Fault, classify
from sweeperd.sweep.execute.batch import LaneTakenError, TooManyRowsError
from sweeperd.sweep.execute.context import RunContext
from sweeperd.sweep.execute.session import Session
from sweeperd.sweep.execute.settle import delete_settled
from sweeperd.sweep.lanes.lane import Piece

_ROUNDS: Final = (0.05, 0.2, 1.0)  # seconds waited before each round
# what a slice may meet and be left as it is: it stays counted as skipped
_LET_BE: Final = (LaneTakenError, TooManyRowsError)


class Leftovers:
    """The slices of one lane that still hold locked rows; it is not drained without them."""

    def __init__(self, run: RunContext, lane: str, session: Session, fence: int) -> None:
        self._run = run
        self._lane = lane
        self._session = session
        self._fence = fence
        self._rows: dict[Piece, int] = {}

    def note(self, piece: Piece, rows: int) -> None:
        """Take how many rows of a slice others had locked."""
        self._rows.pop(piece, None)
        if rows:
            self._rows[piece] = rows
        self._run.counters.rows_locked(self._lane, sum(self._rows.values()))

    async def retry(self) -> None:
        """Go back for the rows.

        Raises:
            RunEndError: The run must end.
        """
        for pause in _ROUNDS:
            if not self._rows:
                return
            await self._run.waits.wait("locked_rows", pause)
            for piece in list(self._rows):
                async with self._run.waits.allowed_rows() as rows:
                    await self._retry(piece, rows)

    async def _retry(self, piece: Piece, rows: int) -> None:
        work = self._run.deletion([(piece.target, piece.part)], rows, skip_locked=True)
        try:
            done = await delete_settled(self._run, self._session, self._fence, work)
        except _LET_BE:
            return
        except SERVER_ERRORS as error:
            if classify(error) is Fault.FATAL:
                raise
            return
        self._run.count(done, self._lane)
        self.note(piece, done.skipped)
        if done.cancelled:
            raise asyncio.CancelledError
