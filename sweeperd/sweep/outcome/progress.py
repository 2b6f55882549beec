"""How far a pass has come: its header, and one record a leaf, as they are saved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, Literal

from pydantic import ConfigDict, Field

from sweeperd.sweep.outcome.usual_load import STORED

Count = Annotated[int, Field(ge=0)]
# the last value done by slices of the column: in its own form, a numeric one as text
ColumnValue = str | int | float
LeafState = Literal["to do", "at a position", "done", "set aside"]
Place = tuple[int, int]  # a block and a line pointer in it; 0 before the first


@dataclass(frozen=True)
class PassHeader:
    """What a pass was begun under.

    Attributes:
        fingerprint: Of what decides which rows go, and how they are walked.
        cutoff: Of its first run, microseconds since 2000-01-01 UTC.
        turn: Key of the leaf with which the next run begins; None for the first one.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STORED

    fingerprint: str
    cutoff: int
    turn: str | None = None


@dataclass(frozen=True)
class Stretch:
    """Rows of one heap that were swept: from a place (inclusive) to another (exclusive).

    Attributes:
        block: The first block.
        offset: The line pointer in it.
        end_block: The block of the place behind the last row.
        end_offset: The line pointer in it.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STORED

    block: Count
    offset: Count
    end_block: Count
    end_offset: Count

    @property
    def low(self) -> Place:
        """Where it begins."""
        return self.block, self.offset

    @property
    def high(self) -> Place:
        """The place behind it."""
        return self.end_block, self.end_offset


@dataclass(frozen=True)
class LeafProgress:
    """One leaf in a pass.

    Attributes:
        state: What is known of it.
        reason: Why it is set aside.
        ancestry: Digest of the tables above it, with its bounds.
        columns: Digest of the numbers, types and names of the columns that decide.
        heap_file: The file in which its rows are.
        strategy: By which it is swept; None before it is begun.
        value: The last value done by slices of the column.
        blocks: The size of its heap when it was begun: what is appended belongs to the next pass.
        stretches: The rows done by block ranges, in order.
        left_rows: Whether rows were stepped over, or were locked.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STORED

    state: LeafState = "to do"
    reason: str | None = None
    ancestry: str | None = None
    columns: str | None = None
    heap_file: str | None = None
    strategy: str | None = None
    value: ColumnValue | None = None
    blocks: Count = 0
    stretches: tuple[Stretch, ...] = ()
    left_rows: bool = False


FRESH: Final = LeafProgress()


def joined(stretches: tuple[Stretch, ...], more: Stretch) -> tuple[Stretch, ...]:
    """Return stretches in order with one more; those that meet are one."""
    low, high = more.low, more.high
    apart = []
    for one in stretches:
        if one.high < low or high < one.low:
            apart.append(one)
        else:
            low, high = min(low, one.low), max(high, one.high)
    return tuple(sorted([*apart, Stretch(*low, *high)], key=lambda one: one.low))


def gaps(stretches: tuple[Stretch, ...], blocks: int) -> list[tuple[Place, Place]]:
    """Return what stretches leave of a heap: from a place (inclusive) to another (exclusive)."""
    found, begin, end = [], (0, 0), (blocks, 0)
    for one in stretches:
        if begin < min(one.low, end):
            found.append((begin, min(one.low, end)))
        begin = max(begin, one.high)
    if begin < end:
        found.append((begin, end))
    return found
