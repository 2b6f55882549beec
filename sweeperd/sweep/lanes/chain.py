"""Many small heaps as one lane: a batch may reach over several leaves of a partitioned table.

One COMMIT per leaf would be most of the cost of a table of many small partitions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sweeperd.postgres.sql.slices import Tid
from sweeperd.postgres.sql.target import Target
from sweeperd.postgres.transaction import Connection, Frame
from sweeperd.sweep.lanes.blocks import pointers_of
from sweeperd.sweep.lanes.heap import HeapLane
from sweeperd.sweep.lanes.lane import Piece


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
        name: Names the lane in the advisory lock.
        links: The heaps' lanes, in order; at least one, each from where the pass stands. One may be
            empty.
    """

    strategy = "heap"
    has_places = True
    read_budget: float | None = None

    def __init__(self, name: str, links: Sequence[HeapLane]) -> None:
        self.name = name
        self._links = tuple(links)
        self._left: set[str] = set()
        self.first_size = self.least_joined = links[0].first_size
        self.largest_size = pointers_of([link.blocks for link in links])
        self.units_per_block = links[0].units_per_block
        self.density = max(link.density for link in links)
        self.position = self._first_from(0)

    @property
    def _at_hand(self) -> HeapLane:
        return self._links[min(self.position.index, len(self._links) - 1)]

    @property
    def target(self) -> Target:
        """What is deleted from the heap at the position; of the last heap at the end."""
        return self._at_hand.target

    @property
    def leaf(self) -> str:
        """Key of the leaf at the position; of the last one at the end."""
        return self._at_hand.leaf

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

    def leave(self, leaf: str) -> None:
        """Go on without a leaf, which cannot be swept now."""
        self._left.add(leaf)
        self.position = self._settled(self.position)

    def _settled(self, position: ChainPosition) -> ChainPosition:
        """Return the position itself, or the start of the next heap with a block behind it."""
        if position.index >= len(self._links):
            return ChainPosition(len(self._links), (0, 0))
        link = self._links[position.index]
        if link.leaf not in self._left and not link.blocks.is_end(position.tid):
            return position
        return self._first_from(position.index + 1)

    def _first_from(self, index: int) -> ChainPosition:
        for at in range(index, len(self._links)):
            leaf, blocks = self._links[at].leaf, self._links[at].blocks
            if leaf not in self._left and not blocks.is_end(blocks.start):
                return ChainPosition(at, blocks.start)
        return ChainPosition(len(self._links), (0, 0))
