"""What other tables lose along with the expired rows, by ON DELETE CASCADE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import asyncpg

from sweeperd.postgres.catalog import quote_if_needed
from sweeperd.postgres.sql import preview as sql
from sweeperd.postgres.sql.target import Table
from sweeperd.postgres.transaction import Connection, Frame, fetchval, reading, reading_rows
from sweeperd.sweep.preview.amount import Amount
from sweeperd.sweep.survey.survey import Survey

_SAMPLE_BLOCKS: Final = 256
_SAMPLE_MS: Final = 2_000
_WHOLE: Final = 100.0  # percent


@dataclass(frozen=True)
class CascadeLoss:
    """Rows that one table loses.

    Attributes:
        table: The table, qualified.
        key: The foreign key that cascades.
        rows: How many rows, estimated; None when nobody knows how many it has.
    """

    table: str
    key: str
    rows: float | None


async def cascade_losses(
    connection: Connection, found: Survey, amount: Amount
) -> list[CascadeLoss]:
    """Return what other tables lose: of each the share of its rows that the swept table loses.

    Args:
        connection: In no transaction.
        found: The swept table.
        amount: What of it is expired.
    """
    if not (found.root.has_triggers or found.root.kind == "p"):
        return []  # a foreign key is a trigger on the table that it refers to
    oids = [found.root.oid, *(leaf.relation.oid for leaf in found.leaves)]
    async with reading(connection):
        rows = await connection.fetch(sql.CASCADES, oids, found.root.oid)
    share = amount.expired / amount.rows if amount.rows and amount.expired is not None else None
    losses: dict[tuple[str, str], CascadeLoss] = {}
    for row in rows:
        table = f"{quote_if_needed(row['schema'])}.{quote_if_needed(row['name'])}"
        if (table, row["key"]) in losses:
            continue
        has = await _rows_of(connection, row) if share is not None else None
        lost = has * share if has is not None and share is not None else None
        losses[table, row["key"]] = CascadeLoss(table, row["key"], lost)
    return list(losses.values())


async def _rows_of(connection: Connection, row: asyncpg.Record) -> float | None:
    """Return how many rows a table has: what ANALYZE says, else by a sample."""
    if row["rows"] >= 0:
        return float(row["rows"])
    if not row["readable"] or row["kind"] != "r":
        return None
    percent = min(_WHOLE * _SAMPLE_BLOCKS / max(int(row["blocks"]), 1), _WHOLE)
    query = sql.rows_in(Table(row["schema"], row["name"]), percent)
    try:
        async with reading_rows(connection, Frame(statement_timeout_ms=_SAMPLE_MS)):
            sampled = int(await fetchval(connection, query))
    except asyncpg.PostgresError:
        return None
    return float(sampled * _WHOLE / percent)
