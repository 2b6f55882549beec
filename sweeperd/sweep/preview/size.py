"""How large the leaves are, and how well the server's statistics know their column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import asyncpg

from sweeperd.postgres.sql import preview as sql
from sweeperd.postgres.transaction import Connection, reading
from sweeperd.sweep.survey.survey import Survey
from sweeperd.sweep.survey.target import Leaf

_STALE_SHARE: Final = 0.02  # of the rows may have changed since the last ANALYZE
_LEAST_BUCKETS: Final = 50  # so that the histogram tells the expired rows to 2 % of the table


@dataclass(frozen=True)
class Size:
    """The size of one leaf, or of several together.

    Attributes:
        heap: Bytes.
        indexes: Bytes.
        toast: Bytes, its index included.
        modified: Rows changed since the last ANALYZE.
        analyzed: Whether there was one.
        buckets: Of the column's histogram; 0 without one.
    """

    heap: int = 0
    indexes: int = 0
    toast: int = 0
    modified: float = 0.0
    analyzed: bool = False
    buckets: int = 0

    def with_more(self, other: Size) -> Size:
        """Return the size of two together; their statistics are not told."""
        return Size(self.heap + other.heap, self.indexes + other.indexes, self.toast + other.toast)

    def knows(self, rows: float) -> bool:
        """Whether the planner's estimate for a table of so many rows can be relied on."""
        fresh = self.analyzed and self.modified <= _STALE_SHARE * rows
        return fresh and self.buckets >= _LEAST_BUCKETS


async def read_sizes(connection: Connection, found: Survey) -> dict[int, Size]:
    """Return the size of each leaf, by OID; one that is swept as a whole has that of all below."""
    column = found.column.name if found.column is not None else ""
    sizes: dict[int, Size] = {}
    async with reading(connection):
        below = {leaf.relation.oid: await _heaps(connection, leaf) for leaf in found.all_leaves}
        oids = [oid for heaps in below.values() for oid in heaps]
        rows = {row["oid"]: row for row in await connection.fetch(sql.SIZES, oids, column)}
    for oid, heaps in below.items():
        known = [_size(rows[heap]) for heap in heaps if heap in rows]
        total = known[0] if len(known) == 1 else Size()
        for one in known if len(known) > 1 else ():
            total = total.with_more(one)
        sizes[oid] = total
    return sizes


async def _heaps(connection: Connection, leaf: Leaf) -> list[int]:
    if leaf.relation.kind != "p":
        return [leaf.relation.oid]
    return [row["oid"] for row in await connection.fetch(sql.HEAPS_BELOW, leaf.relation.oid)]


def _size(row: asyncpg.Record) -> Size:
    return Size(
        heap=row["heap"],
        indexes=row["indexes"],
        toast=row["toast"],
        modified=row["modified"],
        analyzed=bool(row["analyzed"]),
        buckets=row["buckets"],
    )
