"""Tables whose rows lie in other tables: inheritance children and TimescaleDB's chunks."""

from __future__ import annotations

from typing import Final

from sweeperd.errors import SweepError
from sweeperd.postgres.catalog import Relation, quote_if_needed
from sweeperd.postgres.catalog_reads import CatalogReads, Row
from sweeperd.postgres.sql import catalog as sql_catalog
from sweeperd.postgres.sql.literals import quote_literal

_MOST_NAMED: Final = 5


async def refuse_children(reads: CatalogReads, root: Relation) -> None:
    """Refuse a table that other tables inherit from, a hypertable, and a part of one.

    Raises:
        SweepError: With what to do instead.
    """
    _refuse_timescale(root, await _timescale(reads, root))
    if not root.has_children:
        return
    rows = await reads.rows(sql_catalog.CHILDREN, root.oid)
    names = [f"{quote_if_needed(r['schema'])}.{quote_if_needed(r['name'])}" for r in rows]
    if names:
        more = ", ..." if len(names) > _MOST_NAMED else ""
        raise SweepError(
            f"{root.shown} has inheritance children ({', '.join(names[:_MOST_NAMED])}{more}), and "
            "their rows are also its rows",
            cure=f"write one sweep per table that holds rows, such as table = '{names[0]}'",
        )


async def _timescale(reads: CatalogReads, root: Relation) -> Row:
    hypertables: list[int] = []
    if await reads.value(sql_catalog.HYPERTABLES_READABLE):
        hypertables = [row["oid"] for row in await reads.rows(sql_catalog.HYPERTABLES)]
    return await reads.row(sql_catalog.TIMESCALE, root.oid, hypertables)


def _refuse_timescale(root: Relation, row: Row) -> None:
    """Refuse what TimescaleDB manages.

    Raises:
        SweepError: The table is a hypertable, a chunk, or another table of TimescaleDB's own.
    """
    if row["chunk_of"]:
        raise SweepError(
            f"{root.shown} is a chunk of the TimescaleDB hypertable {row['chunk_of']}",
            cure=_retention(row["chunk_of"]),
        )
    if row["internal"]:
        raise SweepError(
            f"{root.shown} is in a schema that TimescaleDB keeps its own tables in",
            cure="name the hypertable or continuous aggregate it belongs to in a retention policy: "
            "add_retention_policy",
        )
    if row["hypertable"]:
        raise SweepError(
            f"{root.shown} is a TimescaleDB hypertable, whose rows lie in chunks",
            cure=_retention(root.shown),
        )


def _retention(hypertable: str) -> str:
    return (
        "let TimescaleDB drop whole chunks: "
        f"SELECT add_retention_policy({quote_literal(hypertable)}, INTERVAL '90 days')"
    )
