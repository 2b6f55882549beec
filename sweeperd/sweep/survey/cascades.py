"""Whether a delete cascades back into the swept table, where it would take live rows."""

from __future__ import annotations

from typing import Final

from sweeperd.errors import SweepError
from sweeperd.postgres.catalog import Relation, quote_if_needed
from sweeperd.postgres.sql import dependents as sql_dependents
from sweeperd.postgres.sql import references as sql_references
from sweeperd.postgres.sql.references import ForeignKey
from sweeperd.postgres.transaction import Connection

_MOST_NAMED: Final = 5


async def refuse_cascades_back(
    connection: Connection, root: Relation, *, one_heap: bool = True
) -> tuple[ForeignKey, ...]:
    """Refuse a table whose rows are deleted along with other rows of it.

    Rows of another partition of the same table count as well: they are live rows of that table.
    Where a table that is one heap refers to itself and its rows can be locked, each row is deleted
    with all rows below it, or stays.

    Args:
        connection: In a reading transaction.
        root: The table.
        one_heap: Whether it may be swept by the places of its rows, as far as is known.

    Returns:
        The keys by which such a table refers to itself.

    Raises:
        SweepError: ON DELETE CASCADE leads from the table back to it, directly or over others.
    """
    # a foreign key is a trigger on the table that it refers to, which may be a partition
    if not root.has_triggers and root.kind != "p":
        return ()
    itself = await _to_itself(connection, root) if one_heap else ()
    way = await _way_back(connection, root, directly=not itself)
    if way is None:
        return itself
    keys = await connection.fetch(sql_dependents.CASCADE_KEYS, list(way))
    named = [
        f"{quote_if_needed(key['name'])} of {_table(key['schema'], key['table'])}" for key in keys
    ]
    more = ", ..." if len(named) > _MOST_NAMED else ""
    last = keys[-1]
    name = quote_if_needed(last["name"])
    raise SweepError(
        f"ON DELETE CASCADE of foreign key {', then '.join(named[:_MOST_NAMED])}{more} leads back "
        f"to {root.shown}, so that deleting an expired row would also delete rows that are not "
        "expired",
        cure=f"ALTER TABLE {_table(last['schema'], last['table'])} DROP CONSTRAINT {name}, "
        f"ADD CONSTRAINT {name} {last['definition']}",
    )


async def _to_itself(connection: Connection, root: Relation) -> tuple[ForeignKey, ...]:
    """Return the keys of a table that cascade to itself, where each row can go with those below."""
    alone = root.kind == "r" and root.access_method == "heap" and not root.partition
    if not (alone and root.lockable) or root.row_security:
        return ()
    rows = await connection.fetch(sql_references.REFERENCES, root.oid)
    return tuple(ForeignKey.of(dict(row)) for row in rows if row["cascades"])


async def _way_back(
    connection: Connection, root: Relation, *, directly: bool
) -> tuple[int, ...] | None:
    """Return the keys of a shortest way by which a delete comes back; None if there is none.

    Args:
        connection: In a reading transaction.
        root: The table.
        directly: Whether a key of the table itself counts.

    Each table is entered once, so this ends after as many steps as there are tables.
    """
    family = {row["oid"] for row in await connection.fetch(sql_dependents.FAMILY, root.oid)}
    begin = [row["oid"] for row in await connection.fetch(sql_dependents.SUBTREE, root.oid)]
    ways: dict[int, tuple[int, ...]] = dict.fromkeys(begin, ())
    tables = begin
    while tables:
        edges = await connection.fetch(sql_dependents.CASCADES, tables)
        tables = []
        for edge in edges:
            way = (*ways[edge["referred"]], edge["key"])
            if edge["oid"] == edge["referred"] == root.oid and not directly:
                continue
            if edge["oid"] in family:
                return way
            if edge["oid"] not in ways:
                ways[edge["oid"]] = way
                tables.append(edge["oid"])
    return None


def _table(schema: str, name: str) -> str:
    return f"{quote_if_needed(schema)}.{quote_if_needed(name)}"
