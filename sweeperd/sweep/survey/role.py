"""Whether the role that sweeps may do more than sweeping needs."""

from __future__ import annotations

from sweeperd.config.models import SweepConfig
from sweeperd.errors import SweepError
from sweeperd.postgres import catalog
from sweeperd.postgres.catalog import Relation, quote_if_needed
from sweeperd.postgres.sql import catalog as sql_catalog
from sweeperd.postgres.transaction import Connection, reading

# what each attribute of pg_roles lets the owner of a trigger do, for it runs as the sweeping role
_ATTRIBUTES = {
    "superuser": "is a superuser",
    "bypasses_row_security": "has BYPASSRLS",
    "creates_roles": "has CREATEROLE",
    "replicates": "has REPLICATION",
}


async def excess_rights(connection: Connection, sweeps: list[SweepConfig]) -> str | None:
    """Return what the role may do beyond sweeping, and the role that would do; None if nothing.

    Args:
        connection: Outside a transaction.
        sweeps: Those on this database.
    """
    async with reading(connection):
        role = await connection.fetchrow(sql_catalog.ROLE)
        tables = await _tables(connection, sweeps)
    found = [words for key, words in _ATTRIBUTES.items() if role[key]]
    if role["superuser"]:  # which has all of the others
        found = found[:1]
    found += [f"is a member of {name}" for name in role["predefined"]]
    # partitions and VACUUM need the owner
    needed = any(sweep.partitions != "delete" or sweep.vacuum == "auto" for sweep in sweeps)
    if not role["superuser"] and not needed:
        found += [f"owns {table.shown}" for table in tables if table.owned]
    if not found:
        return None
    return (
        f"role {quote_if_needed(role['name'])} {', '.join(found)}: the triggers of every swept "
        f"table run with these rights; a role with less does: {_least_role(tables)}"
    )


async def _tables(connection: Connection, sweeps: list[SweepConfig]) -> list[Relation]:
    found = {}
    for sweep in sweeps:
        try:
            table = await catalog.find_table(connection, sweep.table)
        except SweepError:  # told with the sweep
            continue
        found[table.oid] = table
    return list(found.values())


def _least_role(tables: list[Relation]) -> str:
    schemas = dict.fromkeys(quote_if_needed(table.schema) for table in tables)
    return "; ".join(
        [
            "CREATE ROLE sweeperd LOGIN",
            *(f"GRANT USAGE ON SCHEMA {schema} TO sweeperd" for schema in schemas),
            *(f"GRANT SELECT, UPDATE, DELETE ON {table.shown} TO sweeperd" for table in tables),
        ]
    )
