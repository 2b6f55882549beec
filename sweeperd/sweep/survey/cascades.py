"""Whether a delete cascades back into the swept table, where it would take live rows."""

from __future__ import annotations

from sweeperd.errors import SweepError
from sweeperd.postgres.catalog import Relation, quote_if_needed
from sweeperd.postgres.sql import dependents as sql_dependents
from sweeperd.postgres.transaction import Connection


async def refuse_cascades_back(connection: Connection, root: Relation) -> None:
    """Refuse a table whose rows are deleted along with other rows of it.

    Raises:
        SweepError: ON DELETE CASCADE leads from the table back to it, directly or over others.
    """
    # a foreign key is a trigger on the table that it refers to, which may be a partition
    if not root.has_triggers and root.kind != "p":
        return
    keys = await connection.fetch(sql_dependents.CASCADES_BACK, root.oid)
    if not keys:
        return
    first = keys[0]
    child = f"{quote_if_needed(first['schema'])}.{quote_if_needed(first['table'])}"
    name = quote_if_needed(first["name"])
    way = " and ".join(
        f"{quote_if_needed(key['name'])} of "
        f"{quote_if_needed(key['schema'])}.{quote_if_needed(key['table'])}"
        for key in keys
    )
    raise SweepError(
        f"ON DELETE CASCADE of foreign key {way} leads back to {root.shown}, so that "
        "deleting an expired row would also delete rows that are not expired",
        cure=f"drop the cascade (ALTER TABLE {child} DROP CONSTRAINT {name}; then ADD it again "
        "with ON DELETE NO ACTION), and sweep the referencing rows first",
    )
