"""Strategy heap: block ranges of one heap, read by TID Range Scans.

A range is cut by line pointers, not rows: a heap page has a fixed greatest number of them, so
a range of n of them can never hold more than n rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sweeperd.postgres.sql.rows import Target, Tid, TidRange
from sweeperd.postgres.transaction import Connection
from sweeperd.sweep.lanes.lane import NEVER_JOINED, Piece

_PAGE_HEADER: Final = 24
_LEAST_TUPLE: Final = 28  # a line pointer (4) and an aligned tuple header (24)
_FIRST_BLOCKS: Final = 2  # triggers and cascades may be slow; a batch that went well grows


def pointers_per_page(block_size: int) -> int:
    """Return MaxHeapTuplesPerPage (access/htup_details.h): 291 for 8 kB blocks."""
    return (block_size - _PAGE_HEADER) // _LEAST_TUPLE


class HeapLane:
    """Blocks ``first`` to ``end`` (exclusive) of one heap.

    Args:
        name: Names the lane in the saved state and the fence.
        target: What goes from where; the table must be one heap.
        blocks: First block and end block (exclusive), fixed when the run begins: blocks that
            are appended meanwhile belong to the next run.
        block_size: Of the server, bytes.
        rows_per_block: As statistics tell; 0 when they do not.
        read_budget: Blocks per second while they yield little; None for any.
        cursor: Saved cursor of an earlier run.
    """

    strategy = "heap"
    has_places = True
    least_joined = NEVER_JOINED

    def __init__(
        self,
        name: str,
        target: Target,
        blocks: tuple[int, int],
        *,
        block_size: int,
        rows_per_block: float = 0.0,
        read_budget: float | None = None,
        cursor: Sequence[int] | None = None,
    ) -> None:
        self.name = name
        self.target = target
        self.first, self.end = blocks
        self.read_budget = read_budget
        self.units_per_block = pointers_per_page(block_size)
        self.density = rows_per_block / self.units_per_block
        self.first_size = _FIRST_BLOCKS * self.units_per_block
        self.largest_size = max(self.end - self.first, 1) * self.units_per_block
        self.start: Tid = (self.first, 0)
        self._position: Tid = self.start
        self.resume(cursor)

    def resume(self, cursor: Sequence[int] | None) -> None:
        """Go on at a saved cursor, if it lies in this lane."""
        if cursor and self.start < tuple(cursor) < (self.end, 0):
            self._position = (int(cursor[0]), int(cursor[1]))

    async def next(self, connection: Connection, size: int, rows: int) -> Piece | None:  # noqa: ARG002 - the protocol's
        """Return the next range; whole blocks unless a batch must be smaller than one."""
        block, offset = self._position
        if block >= self.end:
            return None
        blocks = size // self.units_per_block
        if blocks >= 1 and (rows >= self.units_per_block or offset == 0):
            high: Tid = (min(block + blocks, self.end), 0)
        else:
            after = max(offset, 1) + max(size, 1)
            high = (block, after) if after <= self.units_per_block else (block + 1, 0)
        units = (high[0] - block) * self.units_per_block + high[1] - offset
        part = TidRange(self._position, high)
        return Piece(self.target, part, max(units, 1), last=high[0] >= self.end)

    def advance(self, piece: Piece) -> None:
        """Move behind a range."""
        if isinstance(piece.part, TidRange):
            self._position = piece.part.high

    def mark(self) -> Tid:
        """Return the position."""
        return self._position

    def reset(self, mark: Tid) -> None:
        """Go back."""
        self._position = mark

    def cursor(self) -> Any:  # noqa: ANN401 - JSON
        """Return the position as [block, offset]; None at the start or the end."""
        done = self._position[0] >= self.end or self._position == self.start
        return None if done else list(self._position)


def share(blocks: int, number: int, of: int) -> tuple[int, int]:
    """Return lane ``number``'s share of the blocks when there are ``of`` lanes."""
    return blocks * number // of, blocks * (number + 1) // of
