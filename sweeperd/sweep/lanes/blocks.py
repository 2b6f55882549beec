"""Positions in one heap: arithmetic only, without a connection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sweeperd.postgres.sql.rows import Tid, TidRange
from sweeperd.sweep.outcome.memory import BlockCursor, Cursor


@dataclass(frozen=True)
class Blocks:
    """Blocks ``first`` to ``end`` (exclusive) of one heap.

    Attributes:
        first: The first block.
        end: The block behind the last one; not above ``first`` when there is none.
        units_per_block: Line pointers that a page may have; offsets are 1 to this.
    """

    first: int
    end: int
    units_per_block: int

    @property
    def start(self) -> Tid:
        """The position before the first row."""
        return self.first, 0

    def is_end(self, position: Tid) -> bool:
        """Whether no block lies behind a position."""
        return position[0] >= self.end

    def slice_at(self, position: Tid, size: int, rows: int) -> TidRange | None:
        """Return the range of about ``size`` line pointers at a position, None at the end.

        It is whole blocks unless a batch must be smaller than one. Its ``high`` always lies
        behind ``position``, so a walk takes at most one step for each line pointer.

        Args:
            position: Where it begins.
            size: Line pointers wanted; less than 1 counts as 1.
            rows: Rows that the rest of the batch may delete.
        """
        if self.is_end(position):
            return None
        block, offset = position
        blocks = size // self.units_per_block
        if blocks >= 1 and (rows >= self.units_per_block or offset == 0):
            return TidRange(position, (min(block + blocks, self.end), 0))
        after = max(offset, 1) + max(size, 1)
        return TidRange(
            position, (block, after) if after <= self.units_per_block else (block + 1, 0)
        )

    def units(self, part: TidRange) -> int:
        """Return how many line pointers a range may hold."""
        blocks = part.high[0] - part.low[0]
        return max(blocks * self.units_per_block + part.high[1] - part.low[1], 1)

    def saved(self, position: Tid) -> BlockCursor | None:
        """Return a position as it is saved; None at the start and at the end."""
        if position == self.start or self.is_end(position):
            return None
        return BlockCursor(*position, self.first)

    def resumed(self, cursor: Cursor | None) -> Tid:
        """Return the position of a saved cursor; the start when it does not fit.

        Between runs the heap may have grown or been truncated, and with it each lane's share.
        A cursor proves only that the blocks from its own lane's first one were swept, so one
        of a lane that began later than this one is ignored: rows before it would be left out.
        """
        if not isinstance(cursor, BlockCursor) or cursor.first_block > self.first:
            return self.start
        position = (cursor.block, cursor.offset)
        return position if self.start < position and not self.is_end(position) else self.start


def block_range(blocks: int, number: int, of: int) -> tuple[int, int]:
    """Return lane ``number``'s blocks, first and end, when there are ``of`` lanes."""
    return blocks * number // of, blocks * (number + 1) // of


def pointers_of(sizes: Sequence[Blocks]) -> int:
    """Return the line pointers that several heaps may have; at least 1."""
    return max(sum(max(one.end - one.first, 0) * one.units_per_block for one in sizes), 1)
