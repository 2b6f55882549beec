"""What a run leaves for the next one of its sweep."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from sweeperd.sweep.outcome.facts import Facts
from sweeperd.sweep.outcome.usual_load import STORED, UsualLoad

Count = Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class BlockCursor:
    """A position in one heap, behind what was swept.

    Attributes:
        block: The block.
        offset: The line pointer in it; 0 before the first.
        first_block: Where the lane began: the cursor proves nothing of the blocks before it.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STORED

    block: Count
    offset: Count
    first_block: Count = 0


@dataclass(frozen=True)
class ChainCursor:
    """A position in one of several small heaps that share a lane.

    Attributes:
        heap: The name of the heap's own lane.
        position: Where in that heap; None at its start.
        digest: Of the names of all heaps up to this one.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STORED

    heap: str
    position: BlockCursor | None
    digest: str


# an index lane keeps the last value done: in the column's own form, a numeric one as text
ColumnValue = str | int | float
Cursor = ColumnValue | BlockCursor | ChainCursor


@dataclass
class SweepMemory:
    """What a sweep's runs have learned; it moves on while a run goes on.

    Attributes:
        facts: What the last run saw of the world; None before the first one.
        usual_load: How much usually expires; None before the table was drained once.
        cursors: Where the pass under way stands, by lane.
        batch_sizes: What batches ended with, by strategy, in its lanes' units.
        deleted_since_vacuum: Rows deleted by table, qualified and quoted, since anybody looked at
            what they left behind.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STORED

    facts: Facts | None = None
    usual_load: UsualLoad | None = None
    cursors: dict[str, Cursor] = field(default_factory=dict)
    batch_sizes: dict[str, Count] = field(default_factory=dict)
    deleted_since_vacuum: dict[str, Count] = field(default_factory=dict)

    def keep_cursor(self, lane: str, cursor: Cursor | None) -> None:
        """Keep a lane's cursor for the next run; None at the start or the end of a pass."""
        if cursor is None:
            self.cursors.pop(lane, None)
        else:
            self.cursors[lane] = cursor

    def add_deleted(self, rows: Mapping[str, int]) -> None:
        """Add up deleted rows by table, over runs: of a backlog's many, the last is small."""
        for table, count in rows.items():
            self.deleted_since_vacuum[table] = self.deleted_since_vacuum.get(table, 0) + count

    def copy(self) -> SweepMemory:
        """Return a memory of its own for one run; a run that did not happen changes nothing."""
        return deepcopy(self)
