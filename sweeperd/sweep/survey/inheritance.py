"""Tables whose rows lie in other tables: inheritance children and TimescaleDB's chunks."""

from __future__ import annotations

from sweeperd.errors import SweepError
from sweeperd.postgres.catalog import Relation, quote_if_needed
from sweeperd.postgres.sql import catalog as sql_catalog
from sweeperd.postgres.transaction import Connection

_MOST_NAMED = 5


async def refuse_children(connection: Connection, root: Relation) -> None:
    """Refuse a table that other tables inherit from, and a hypertable.

    Raises:
        SweepError: With what to do instead.
    """
    row = await connection.fetchrow(sql_catalog.TIMESCALE, root.oid)
    if row["hypertable"] or row["chunks"]:
        raise SweepError(
            f"{root.shown} is a TimescaleDB hypertable, whose rows lie in chunks",
            cure=f"let TimescaleDB drop whole chunks: SELECT add_retention_policy('{root.shown}', "
            "INTERVAL '90 days')",
        )
    if row["chunk_of"]:
        raise SweepError(
            f"{root.shown} is a chunk of the TimescaleDB hypertable {row['chunk_of']}",
            cure="let TimescaleDB drop whole chunks: SELECT "
            f"add_retention_policy('{row['chunk_of']}', INTERVAL '90 days')",
        )
    if not root.has_children:
        return
    rows = await connection.fetch(sql_catalog.CHILDREN, root.oid)
    names = [f"{quote_if_needed(r['schema'])}.{quote_if_needed(r['name'])}" for r in rows]
    if names:
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        raise SweepError(
            f"{', '.join(names[:_MOST_NAMED])}{more} inherit from {root.shown}, and their rows are "
            "also its rows",
            cure=f"write one sweep per table that holds rows, such as table = '{names[0]}'",
        )
