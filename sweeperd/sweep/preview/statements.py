"""What is sent: the DELETE of a batch, and a few rows that it would take."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import asyncpg

from sweeperd.config.models import SweepConfig
from sweeperd.postgres.sql import preview as sql
from sweeperd.postgres.sql.batch import delete_plain, lock_then_delete
from sweeperd.postgres.sql.expired import Condition
from sweeperd.postgres.sql.slices import KeyRange, Slice, TidRange
from sweeperd.postgres.transaction import Connection, Frame, fetch, reading_rows
from sweeperd.sweep.plan.strategy import Choice
from sweeperd.sweep.survey.frame import table_frame
from sweeperd.sweep.survey.survey import Survey

_EXAMPLES: Final = 5
_EXAMPLES_MS: Final = 1_000
_BLOCKS_SHOWN: Final = 100  # of the block range in the statement


@dataclass(frozen=True)
class Example:
    """An expired row.

    Attributes:
        key: Its primary key, or its place.
        expires: The column's value, as the server writes it; None with a condition.
    """

    key: str
    expires: str | None


def batch_statements(choices: Iterable[Choice]) -> list[str]:
    """Return the statements of a batch, for one leaf of each strategy."""
    first = {choice.strategy: choice for choice in reversed(list(choices))}
    told: list[str] = []
    for strategy, choice in sorted(first.items()):
        target = choice.leaf.target
        part: Slice = TidRange((0, 0), (_BLOCKS_SHOWN, 0))
        if strategy == "index":
            part = KeyRange(None, target.column.upper)
        told += lock_then_delete(target, part) if target.two_steps else [delete_plain(target, part)]
    return told


async def examples(connection: Connection, sweep: SweepConfig, found: Survey) -> list[Example]:
    """Return up to five expired rows; fewer where they are not found within a second each leaf."""
    told: list[Example] = []
    frame = Frame(f"sweeperd:{sweep.name}", statement_timeout_ms=_EXAMPLES_MS)
    framed = table_frame(sweep, frame, search_path=found.search_path)
    for leaf in found.leaves:
        is_condition = isinstance(leaf.target.expired, Condition)
        ordered = not is_condition and any(
            found.column is not None and index.serves(found.column) for index in leaf.indexes
        )
        query = sql.examples(
            leaf.target, found.key_columns, limit=_EXAMPLES - len(told), ordered=ordered
        )
        try:
            async with reading_rows(connection, framed):
                rows = await fetch(connection, query)
        except asyncpg.PostgresError:  # it took too long, or a ``where`` failed for a row
            return told
        told += [Example(row["key"], row["expires"]) for row in rows]
        if len(told) >= _EXAMPLES:
            break
    return told
