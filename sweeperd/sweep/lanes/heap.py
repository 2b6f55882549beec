"""Strategy heap: block ranges of one heap, read by TID Range Scans.

A range is cut by line pointers, not rows: a heap page has a fixed greatest number of them, so
a range of n of them can never hold more than n rows.
"""

from __future__ import annotations

from typing import Final

from sweeperd.postgres.sql.slices import Tid
from sweeperd.postgres.sql.target import Target
from sweeperd.postgres.transaction import Connection, Frame
from sweeperd.sweep.lanes.blocks import Blocks, pointers_of
from sweeperd.sweep.lanes.lane import NEVER_JOINED, Piece
from sweeperd.sweep.outcome.progress import Place

_PAGE_HEADER: Final = 24
_LEAST_TUPLE: Final = 28  # a line pointer (4) and an aligned tuple header (24)
_FIRST_BLOCKS: Final = 2  # triggers and cascades may be slow; a batch that went well grows


def pointers_per_page(block_size: int) -> int:
    """Return MaxHeapTuplesPerPage (access/htup_details.h): 291 for 8 kB blocks."""
    return (block_size - _PAGE_HEADER) // _LEAST_TUPLE


class HeapLane:
    """A share of one heap.

    Args:
        name: Names the lane in the advisory lock.
        leaf: Key of the leaf in the pass.
        target: What goes from where; the table must be one heap.
        share: Where it begins, and its end block (exclusive): blocks that are appended meanwhile
            belong to the next pass.
        heap_file: The file that these blocks are of.
        block_size: Of the server, bytes.
        expired_per_block: At most, as far as statistics and a sample tell; 0 when they do not.
        read_budget: Blocks per second while they yield little; None for any.
    """

    strategy = "heap"
    has_places = True
    least_joined = NEVER_JOINED

    def __init__(
        self,
        name: str,
        leaf: str,
        target: Target,
        share: tuple[Place, int],
        *,
        heap_file: str | None,
        block_size: int,
        expired_per_block: float = 0.0,
        read_budget: float | None = None,
    ) -> None:
        self.name = name
        self.leaf = leaf
        self.heap_file = heap_file
        self.target = target
        self.read_budget = read_budget
        self.units_per_block = pointers_per_page(block_size)
        self.blocks = Blocks(*share, self.units_per_block)
        self.density = expired_per_block / self.units_per_block
        self.first_size = _FIRST_BLOCKS * self.units_per_block
        self.largest_size = pointers_of([self.blocks])
        self.position: Tid = self.blocks.start

    def slice_at(self, position: Tid, size: int, rows: int) -> Piece | None:
        """Return the range at a position of this heap; None at its end."""
        part = self.blocks.slice_at(position, size, rows)
        if part is None:
            return None
        units, last = self.blocks.units(part), self.blocks.is_end(part.high)
        return Piece(
            self.target, part, units, last=last, end=part.high, leaf=self.leaf,
            heap_file=self.heap_file,
        )  # fmt: skip

    async def prepare(
        self, connection: Connection, frame: Frame, position: Tid, size: int, rows: int
    ) -> None:
        """Read nothing: blocks are cut without looking at them."""

    def next(self, position: Tid, size: int, rows: int) -> Piece | None:
        """Return the range at a position; whole blocks unless a batch must be smaller than one."""
        return self.slice_at(position, size, rows)

    def advance(self, piece: Piece) -> None:
        """Move behind a range."""
        self.position = piece.end
