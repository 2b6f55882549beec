"""Positions in one heap: arithmetic only, without a connection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sweeperd.postgres.sql.slices import Tid, TidRange
from sweeperd.sweep.outcome.progress import Place


@dataclass(frozen=True)
class Blocks:
    """A share of one heap, up to block ``end`` (exclusive).

    Attributes:
        start: The position before the first row.
        end: The block behind the last one; not above that of ``start`` when there is none.
        units_per_block: Line pointers that a page may have; offsets are 1 to this.
    """

    start: Tid
    end: int
    units_per_block: int

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


def shares(gaps: Sequence[tuple[Place, Place]], parts: int) -> list[tuple[Place, int]]:
    """Cut what is left of a heap into about ``parts`` shares, at least one a gap.

    Where there are gaps enough nothing is cut, so that their number does not grow from run to run.

    Args:
        gaps: From a place (inclusive) to another (exclusive), in order.
        parts: Shares wanted.

    Returns:
        Where each begins, and the block behind it.
    """
    wholes = [(low, high[0] + (1 if high[1] else 0)) for low, high in gaps]
    if not wholes or len(wholes) >= parts:
        return wholes
    largest = max(wholes, key=lambda one: one[1] - one[0][0])
    low, end = largest
    pieces = min(parts - len(wholes) + 1, max(end - low[0], 1))
    at = wholes.index(largest)
    cuts = [low[0] + (end - low[0]) * number // pieces for number in range(pieces + 1)]
    begins = [low, *((block, 0) for block in cuts[1:-1])]
    return [*wholes[:at], *zip(begins, cuts[1:], strict=True), *wholes[at + 1 :]]


def pointers_of(sizes: Sequence[Blocks]) -> int:
    """Return the line pointers that several heaps may have; at least 1."""
    return max(sum(max(one.end - one.start[0], 0) * one.units_per_block for one in sizes), 1)
