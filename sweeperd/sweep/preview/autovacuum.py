"""Whether autovacuum will be triggered by what a run leaves dead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import asyncpg

from sweeperd.postgres.sql import vacuum as sql
from sweeperd.postgres.transaction import Connection, reading
from sweeperd.sweep.execute.vacuum import why_off
from sweeperd.sweep.preview.amount import Amount
from sweeperd.sweep.survey.survey import Survey


@dataclass(frozen=True)
class DeadTuples:
    """The dead tuples of one leaf.

    Attributes:
        table: The leaf, qualified.
        now: How many there are, as the server's statistics say.
        after: How many there will be once the expired rows are deleted.
        threshold: Above which autovacuum is triggered.
        is_triggered: Whether it will be.
        reason: Why, or why not.
    """

    table: str
    now: int
    after: int
    threshold: int
    is_triggered: bool
    reason: str


async def dead_tuples(
    connection: Connection, found: Survey, amounts: Mapping[int, Amount]
) -> list[DeadTuples]:
    """Return the dead tuples of each leaf that is one heap."""
    heaps = [leaf for leaf in found.leaves if leaf.one_heap]
    by_name = {(leaf.relation.schema, leaf.relation.name): leaf.relation for leaf in heaps}
    async with reading(connection):
        rows = await connection.fetch(
            sql.AUTOVACUUM, [schema for schema, _ in by_name], [name for _, name in by_name]
        )
    told = []
    for row in rows:
        relation = by_name[row["schema"], row["name"]]
        told.append(_judged(row, relation.shown, amounts[relation.oid].expired or 0.0))
    return told


def _judged(row: asyncpg.Record, table: str, expired: float) -> DeadTuples:
    now, threshold = round(row["dead"]), round(row["threshold"])
    after = now + round(expired)
    off = why_off(row)
    triggered = off is None and after > threshold
    reason = off or f"{after} dead tuples, its threshold is {threshold}"
    return DeadTuples(table, now, after, threshold, triggered, reason)
