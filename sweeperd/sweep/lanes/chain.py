"""Many small heaps as one lane: a batch may reach over several leaves of a partitioned table.

One COMMIT per leaf would be most of the cost of a table of many small partitions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sweeperd.postgres.sql.rows import Target, Tid
from sweeperd.postgres.transaction import Connection, Frame
from sweeperd.sweep.lanes.blocks import pointers_of
from sweeperd.sweep.lanes.heap import HeapLane
from sweeperd.sweep.lanes.lane import Piece
from sweeperd.sweep.outcome.memory import ChainCursor, Cursor


@dataclass(frozen=True)
class ChainPosition:
    """A position in one of several heaps; they are ordered as the chain has them.

    Attributes:
        index: The heap's place in the chain; their number at the end of the chain.
        tid: The position in that heap.
    """

    index: int
    tid: Tid


class ChainLane:
    """Heaps one after the other.

    Args:
        name: Names the lane in the saved state and the fence.
        links: The heaps' lanes, in order; at least one. Each is named by its heap and may be
            empty. Their own cursors are not used.
        cursor: Saved cursor of an earlier run: a link's name, its cursor, and a digest of the
            links up to it.
    """

    strategy = "heap"
    has_places = True
    read_budget: float | None = None

    def __init__(self, name: str, links: Sequence[HeapLane], cursor: Cursor | None = None) -> None:
        self.name = name
        self._links = tuple(links)
        self.first_size = self.least_joined = links[0].first_size
        self.largest_size = pointers_of([link.blocks for link in links])
        self.units_per_block = links[0].units_per_block
        self.density = max(link.density for link in links)
        self._start = self._first_from(0)
        self.position = self._resumed(cursor)

    @property
    def target(self) -> Target:
        """What is deleted from the heap at the position; of the last heap at the end."""
        return self._links[min(self.position.index, len(self._links) - 1)].target

    async def prepare(
        self, connection: Connection, frame: Frame, position: ChainPosition, size: int, rows: int
    ) -> None:
        """Read nothing: blocks are cut without looking at them."""

    def next(self, position: ChainPosition, size: int, rows: int) -> Piece | None:
        """Return the slice at a position; it lies in one heap. Empty heaps are passed."""
        here = self._settled(position)
        if here.index == len(self._links):
            return None
        piece = self._links[here.index].slice_at(here.tid, size, rows)
        if piece is None:
            return None
        end = self._settled(ChainPosition(here.index, piece.end))
        return replace(piece, last=end.index == len(self._links), end=end)

    def advance(self, piece: Piece) -> None:
        """Move behind a slice; it may lie in a later heap than the one at hand."""
        self.position = piece.end

    def cursor(self) -> ChainCursor | None:
        """Return the heap at hand, its cursor, and what it rests on; None at start and end."""
        at = self.position
        if at == self._start or at.index == len(self._links):
            return None
        link = self._links[at.index]
        return ChainCursor(link.name, link.blocks.saved(at.tid), self._digest(at.index))

    def _settled(self, position: ChainPosition) -> ChainPosition:
        """Return the position itself, or the start of the next heap with a block behind it."""
        if position.index >= len(self._links):
            return ChainPosition(len(self._links), (0, 0))
        if not self._links[position.index].blocks.is_end(position.tid):
            return position
        return self._first_from(position.index + 1)

    def _first_from(self, index: int) -> ChainPosition:
        for at in range(index, len(self._links)):
            blocks = self._links[at].blocks
            if not blocks.is_end(blocks.start):
                return ChainPosition(at, blocks.start)
        return ChainPosition(len(self._links), (0, 0))

    def _resumed(self, cursor: Cursor | None) -> ChainPosition:
        """Return the position of a saved cursor.

        The start, when its heap is not in this chain, or when other heaps lie before it than
        when it was saved: those would be left out.
        """
        if not isinstance(cursor, ChainCursor):
            return self._start
        names = [link.name for link in self._links]
        if cursor.heap not in names:
            return self._start
        index = names.index(cursor.heap)
        if cursor.digest != self._digest(index):
            return self._start
        return self._settled(
            ChainPosition(index, self._links[index].blocks.resumed(cursor.position))
        )

    def _digest(self, index: int) -> str:
        """Return a digest of the names of the heaps up to one."""
        names = "\n".join(link.name for link in self._links[: index + 1])
        return hashlib.sha256(names.encode()).hexdigest()[:16]
