"""Expired rows of a lane that others had locked: gone back for, a few times, at its end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sweeperd.postgres.sql.slices import Slice, Tid, Tids
from sweeperd.postgres.sqlstate import SERVER_ERRORS, Fault, classify
from sweeperd.sweep.execute.batch import LaneTakenError, TooManyRowsError
from sweeperd.sweep.execute.context import RunContext
from sweeperd.sweep.execute.session import Session
from sweeperd.sweep.execute.settle import delete_settled
from sweeperd.sweep.lanes.lane import Piece

# Seconds waited before each round; most locks of rows are held for less. What is locked for longer
# is left to the next run, which comes soon.
_ROUNDS: Final = (0.05, 0.1)
_MOST_JOINED: Final = 32  # slices of one batch
# what a slice may meet and be left as it is: it stays counted as skipped
_LET_BE: Final = (LaneTakenError, TooManyRowsError)


@dataclass(frozen=True)
class _Left:
    """What of a slice others had locked.

    Attributes:
        rows: How many rows.
        places: Where they are; None where they are many, or not known.
    """

    rows: int
    places: tuple[Tid, ...] | None

    def part(self, piece: Piece) -> Slice:
        """Return these rows, or the whole slice."""
        return Tids(self.places) if self.places is not None else piece.part


class Leftovers:
    """The slices of one lane that still hold locked rows; it is not drained without them.

    Args:
        run: The run.
        lane: The lane's name.
        session: Its connection.
        fence: Key of its advisory lock.
        may_skip: Whether rows of it can be locked by place, for SKIP LOCKED.
    """

    def __init__(
        self, run: RunContext, lane: str, session: Session, fence: int, *, may_skip: bool
    ) -> None:
        self._run = run
        self._lane = lane
        self._session = session
        self._fence = fence
        self._may_skip = may_skip
        self._left: dict[Piece, _Left] = {}

    def note(self, piece: Piece, rows: int, places: tuple[Tid, ...] | None = None) -> None:
        """Take how many rows of a slice others had locked, and where they are."""
        self._left.pop(piece, None)
        if rows:
            self._left[piece] = _Left(rows, places if self._may_skip else None)
        total = sum(left.rows for left in self._left.values())
        self._run.counters.rows_locked(self._lane, total)

    async def retry(self) -> None:
        """Go back for the rows.

        Raises:
            RunEndError: The run must end.
        """
        for pause in _ROUNDS:
            if not self._left:
                return
            await self._run.waits.wait("locked_rows", pause)
            todo = list(self._left)
            while todo:  # each turn takes at least one slice away
                async with self._run.waits.allowed_rows() as rows:
                    pieces = self._first(todo, rows)
                    del todo[: len(pieces)]
                    await self._retry(pieces, rows)

    def _first(self, pieces: Sequence[Piece], rows: int) -> list[Piece]:
        """Return the first slices of which one batch may try the rows again."""
        joined: list[Piece] = []
        for piece in pieces[:_MOST_JOINED]:
            left = self._left[piece]
            rows -= left.rows
            if joined and (rows < 0 or left.places is None):
                break
            joined.append(piece)
            if left.places is None:
                break
        return joined

    async def _retry(self, pieces: Sequence[Piece], rows: int) -> None:
        slices = [(piece.target, self._left[piece].part(piece)) for piece in pieces]
        work = self._run.deletion(slices, rows, skip_locked=self._may_skip)
        try:
            done = await delete_settled(self._run, self._session, self._fence, work)
        except _LET_BE:
            return
        except SERVER_ERRORS as error:
            if classify(error) is Fault.FATAL:
                raise
            return
        self._run.count(done, self._lane)
        places = done.left or (None,) * len(pieces)
        for piece, (_, skipped), left in zip(pieces, done.by_slice, places, strict=True):
            self.note(piece, skipped, left)
        if done.cancelled:
            raise asyncio.CancelledError
