"""One heap, or one table swept as a whole, and what goes from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from sweeperd.config.models import SweepConfig
from sweeperd.postgres.catalog import Column, Index, Relation
from sweeperd.postgres.sql.expired import Condition, Expired
from sweeperd.postgres.sql.target import Table, Target

TINY_BLOCKS: Final = 64


@dataclass(frozen=True)
class Leaf:
    """One heap (or one table swept as a whole) and what is known of it.

    Attributes:
        relation: Its catalogue entry.
        target: What goes from it.
        blocks: Its size now; 0 where it is not one heap.
        indexes: Indexes that hold the column.
        one_heap: ctid names one row here.
    """

    relation: Relation
    target: Target
    blocks: int
    indexes: tuple[Index, ...]
    one_heap: bool

    @property
    def key(self) -> str:
        """What names it in a pass: its OID."""
        return str(self.relation.oid)

    def has_choice(self, column: Column) -> bool:
        """Whether both strategies can sweep it, and it is large enough for that to matter."""
        served = any(index.serves(column) for index in self.indexes)
        return served and self.one_heap and self.blocks > TINY_BLOCKS

    def in_two_steps(self) -> Leaf:
        """Return the same, whose rows are locked before they are judged."""
        return replace(self, target=replace(self.target, two_steps=True))

    @property
    def lockable(self) -> bool:
        """Whether its rows can be locked first.

        Under row security FOR UPDATE shows only what the policies for UPDATE show, too, so that a
        row without one would be taken for a row that others have locked.
        """
        return self.relation.lockable and not self.relation.policies_by_command


def table_of(relation: Relation, root: Relation, *, whole: bool) -> Table:
    """Return the table for SQL; a leaf goes by the name the operator's ``where`` knows."""
    return Table(
        relation.schema,
        relation.name,
        only=not whole,
        alias=root.name if relation != root else None,
    )


def make_target(table: Table, expired: Expired | Condition, sweep: SweepConfig) -> Target:
    """Return what goes from a table."""
    return Target(table, expired, sweep.where)
