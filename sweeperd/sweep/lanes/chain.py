"""Many small heaps as one lane: a batch may reach over several leaves of a partitioned table.

One COMMIT per leaf would be most of the cost of a table of many small partitions.
"""

from __future__ import annotations

from typing import Any

from sweeperd.postgres.sql.rows import Target
from sweeperd.postgres.transaction import Connection
from sweeperd.sweep.lanes.heap import HeapLane
from sweeperd.sweep.lanes.lane import Piece


class ChainLane:
    """Heaps one after the other.

    Args:
        name: Names the lane in the saved state and the fence.
        links: The heaps' lanes, in order; at least one. Each is named by its heap.
        cursor: Saved cursor of an earlier run: a link's name and its cursor.
    """

    strategy = "heap"
    has_places = True
    read_budget: float | None = None

    def __init__(self, name: str, links: list[HeapLane], cursor: Any = None) -> None:  # noqa: ANN401 - JSON
        self.name = name
        self._links = links
        self._at = 0
        self.first_size = self.least_joined = links[0].first_size
        self.largest_size = sum(link.largest_size for link in links)
        self.units_per_block = links[0].units_per_block
        self.density = max(link.density for link in links)
        if isinstance(cursor, list):
            names = [link.name for link in links]
            self._at = names.index(cursor[0]) if cursor[0] in names else 0
            if self._at and len(cursor) > 1:
                links[self._at].resume(cursor[1])

    @property
    def target(self) -> Target:
        """What goes from the heap at hand."""
        return self._link.target

    @property
    def _link(self) -> HeapLane:
        return self._links[min(self._at, len(self._links) - 1)]

    async def next(self, connection: Connection, size: int, rows: int) -> Piece | None:
        """Return the next slice; it lies in one heap."""
        while self._at < len(self._links):
            piece = await self._link.next(connection, size, rows)
            if piece is not None:
                final = piece.last and self._at == len(self._links) - 1
                return Piece(piece.target, piece.part, piece.units, last=final)
            self._at += 1
        return None

    def advance(self, piece: Piece) -> None:
        """Move behind a slice; it may lie in a later heap than the one at hand."""
        while self._link.target != piece.target:
            self._at += 1
        self._link.advance(piece)

    def mark(self) -> tuple[int, Any]:
        """Return the position."""
        return self._at, self._link.mark()

    def reset(self, mark: tuple[int, Any]) -> None:
        """Go back; the heaps in between begin anew."""
        at, inner = mark
        for link in self._links[at + 1 : self._at + 1]:
            link.reset(link.start)
        self._at = at
        self._link.reset(inner)

    def cursor(self) -> Any:  # noqa: ANN401 - JSON
        """Return the heap at hand and its cursor; None at the end."""
        if self._at >= len(self._links):
            return None
        return [self._link.name, self._link.cursor()]
