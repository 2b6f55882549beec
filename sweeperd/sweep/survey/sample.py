"""A bounded sample of a table's rows, taken leaf by leaf."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Final

import asyncpg

from sweeperd.postgres.sql import rows as sql
from sweeperd.postgres.sql.target import Target
from sweeperd.postgres.sqlstate import Fault, classify
from sweeperd.postgres.transaction import Connection, fetch, savepoint
from sweeperd.sweep.outcome.usual_load import Amount
from sweeperd.sweep.survey.target import Leaf

SAMPLE_ROWS: Final = 10_000
_SAMPLE_BLOCKS: Final = 64
_SAMPLE_LEAVES: Final = 100
_LEAST_SAMPLE_ROWS: Final = 100  # of one leaf
_WHOLE: Final = 100.0  # percent


@dataclass
class Sample:
    """What was seen of a table's rows.

    Attributes:
        rows: How many were sampled.
        expired: How many of these are expired.
        values: The column's values, where they were asked for.
        scale: The table's rows for each one sampled; None when the sample tells nothing of it.
    """

    rows: int = 0
    expired: int = 0
    values: list[Decimal] = field(default_factory=list)
    scale: float | None = 1.0

    @property
    def amount(self) -> Amount:
        """How much of the table is expired."""
        share = self.expired / self.rows if self.rows else 0.0
        return Amount(share, None if self.scale is None else self.expired * self.scale)


async def take_sample(connection: Connection, leaves: Sequence[Leaf], *, values: bool) -> Sample:
    """Sample a table.

    Args:
        connection: In a transaction.
        leaves: The table's.
        values: Whether the column's values are wanted.
    """
    spread, percent = _spread(leaves), sampled_percent(leaves)
    sample = await _sample_leaves(connection, spread, percent, values=values)
    if sample.rows or percent == _WHOLE:
        parts = len(_filled(leaves)) / max(len(spread), 1)
        return replace(sample, scale=parts * _WHOLE / percent)
    # a sample that met none of a few rows among many empty blocks tells nothing of their number
    whole = await _sample_leaves(connection, spread, _WHOLE, values=values)
    return replace(whole, scale=None)


def sampled_percent(leaves: Sequence[Leaf]) -> float:
    """Return the share of the table's blocks that a sample reads."""
    blocks = sum(leaf.blocks for leaf in leaves)
    return _WHOLE * _SAMPLE_BLOCKS / blocks if blocks > _SAMPLE_BLOCKS else _WHOLE


def _spread(leaves: Sequence[Leaf]) -> list[Leaf]:
    """Return the leaves to sample: all, or some evenly spread, which the newest is one of."""
    filled = _filled(leaves)
    step = max(len(filled) // _SAMPLE_LEAVES, 1)
    return filled[::-1][::step][::-1]


def _filled(leaves: Sequence[Leaf]) -> list[Leaf]:
    return [leaf for leaf in leaves if leaf.blocks or not leaf.one_heap] or list(leaves)


async def _sample_leaves(
    connection: Connection, leaves: list[Leaf], percent: float, *, values: bool
) -> Sample:
    """Sample leaf by leaf.

    Through the parent one statement would lock the indexes of every partition, and reach foreign
    partitions.
    """
    sample = Sample()
    limit = max(SAMPLE_ROWS // max(len(leaves), 1), _LEAST_SAMPLE_ROWS)
    for leaf in leaves:
        row = await _sample(connection, leaf.target, (percent, limit), values=values)
        sample.rows += row["rows"]
        sample.expired += row["expired"]
        sample.values += map(Decimal, (row["values"] or "").split())
    return sample


async def _sample(
    connection: Connection, target: Target, size: tuple[float, int], *, values: bool
) -> asyncpg.Record:
    """Sample rows; a ``where`` that some row makes fail is left out, which only holds more."""
    percent, limit = size
    statement = sql.sample(target, percent=percent, limit=limit, values=values)
    if target.where is None:
        return (await fetch(connection, statement))[0]
    try:
        async with savepoint(connection):
            return (await fetch(connection, statement))[0]
    except asyncpg.PostgresError as error:
        writes = isinstance(error, asyncpg.ReadOnlySQLTransactionError)
        if not (writes or classify(error) is Fault.ROW):
            raise
    return await _sample(connection, replace(target, where=None), size, values=values)
