"""Whether the role that sweeps may do more than sweeping needs, and the role that would do."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import count
from typing import Final

from sweeperd.config.models import SweepConfig
from sweeperd.errors import SweepError
from sweeperd.postgres import catalog
from sweeperd.postgres.catalog import Relation, quote_if_needed
from sweeperd.postgres.catalog_reads import CatalogReads
from sweeperd.postgres.sql import catalog as sql_catalog
from sweeperd.postgres.sql.literals import quote_literal
from sweeperd.postgres.transaction import Connection, reading

# what each attribute of pg_roles is called
_ATTRIBUTES: Final = {
    "superuser": "is a superuser",
    "bypasses_row_security": "has BYPASSRLS",
    "creates_roles": "has CREATEROLE",
    "replicates": "has REPLICATION",
}
_MOST_NAMED: Final = 5


@dataclass(frozen=True)
class _Swept:
    """A table of some sweeps, with its partitions.

    Attributes:
        table: The table.
        parts: The table and all that lies below it.
        needs_owner: Whether a sweep detaches, drops or vacuums.
    """

    table: Relation
    parts: tuple[Relation, ...]
    needs_owner: bool


async def excess_rights(connection: Connection, sweeps: list[SweepConfig]) -> str | None:
    """Return what the role may do beyond sweeping, and the role that would do; None if nothing.

    Rights that the sweeps need are not excess: an owner's for partitions and VACUUM, BYPASSRLS for
    a table with row security.

    Args:
        connection: Outside a transaction.
        sweeps: Those on this database.
    """
    async with reading(connection):
        reads = CatalogReads(connection)
        role = await reads.row(sql_catalog.ROLE)
        tables = await _tables(reads, sweeps)
        archives = await _archives(reads, sweeps)
        oids = [part.oid for one in tables for part in one.parts]
        secured = await connection.fetchval(sql_catalog.ROW_SECURED, oids)
    bypass = secured and not all(sweep.row_security == "obey" for sweep in sweeps)
    found = [words for key, words in _ATTRIBUTES.items() if role[key]]
    if role["superuser"]:  # which has all of the others
        found = found[:1]
    elif bypass:
        found = [words for words in found if words != _ATTRIBUTES["bypasses_row_security"]]
    found += [f"is a member of {quote_if_needed(name)}" for name in role["memberships"]]
    if role["owned_database"]:
        found.append(f"owns the database {quote_if_needed(role['owned_database'])}")
    if not role["superuser"]:
        found += _owned(tables)
    if not found:
        return None
    least = _LeastRole(_free_name(role["taken"] or ()), bypasses=bool(bypass))
    return (
        f"role {quote_if_needed(role['name'])} {', '.join(found)}: the triggers of every swept "
        f"table run with these rights; a role with less is enough: {least.sql(tables, archives)}"
    )


async def _tables(reads: CatalogReads, sweeps: Iterable[SweepConfig]) -> list[_Swept]:
    found: dict[int, _Swept] = {}
    for sweep in sweeps:
        try:
            table = await catalog.find_table(reads, sweep.table)
        except SweepError:  # told with the sweep
            continue
        needs_owner = sweep.partitions != "delete" or sweep.vacuum == "auto"
        if table.oid in found:
            needs_owner = needs_owner or found[table.oid].needs_owner
        below = await catalog.read_partitions(reads, table.oid) if table.kind == "p" else []
        found[table.oid] = _Swept(table, (table, *below), needs_owner)
    return list(found.values())


async def _archives(reads: CatalogReads, sweeps: Iterable[SweepConfig]) -> list[Relation]:
    found: dict[int, Relation] = {}
    for sweep in sweeps:
        if sweep.archive_to is None or sweep.archive_file is not None:
            continue
        try:
            archive = await catalog.find_table(reads, sweep.archive_to)
        except SweepError:  # told with the sweep
            continue
        found[archive.oid] = archive
    return list(found.values())


def _owned(tables: list[_Swept]) -> list[str]:
    """Return what the role owns without need."""
    names = [
        part.shown for one in tables if not one.needs_owner for part in one.parts if part.owned
    ]
    more = [f"and {len(names) - _MOST_NAMED} tables more"] if len(names) > _MOST_NAMED else []
    return [f"owns {name}" for name in names[:_MOST_NAMED]] + more


def _free_name(taken: Collection[str]) -> str:
    names = ("sweeperd" if number == 1 else f"sweeperd_{number}" for number in count(1))
    return next(name for name in names if name not in taken)


@dataclass(frozen=True)
class _LeastRole:
    """A role that may do what sweeping needs, and no more."""

    name: str
    bypasses: bool

    def sql(self, tables: list[_Swept], archives: list[Relation]) -> str:
        """Return the statements that make it."""
        every = [*(one.table for one in tables), *archives]
        schemas = dict.fromkeys(quote_if_needed(table.schema) for table in every)
        return "; ".join(
            [
                f"CREATE ROLE {self.name} LOGIN{' BYPASSRLS' if self.bypasses else ''}",
                *(f"GRANT USAGE ON SCHEMA {schema} TO {self.name}" for schema in schemas),
                *(self._grant(one) for one in tables),
                *(
                    f"GRANT SELECT, INSERT ON {archive.shown} TO {self.name}"
                    for archive in archives
                ),
            ]
        )

    def _grant(self, one: _Swept) -> str:
        """Return the GRANT; one on a partitioned table does not reach its partitions."""
        if len(one.parts) == 1:
            return f"GRANT SELECT, UPDATE, DELETE ON {one.table.shown} TO {self.name}"
        if len(one.parts) <= _MOST_NAMED:
            names = ", ".join(part.shown for part in one.parts)
            return f"GRANT SELECT, UPDATE, DELETE ON {names} TO {self.name}"
        text = quote_literal(one.table.shown)
        return (
            "DO $$ BEGIN EXECUTE (SELECT string_agg(format('GRANT SELECT, UPDATE, DELETE ON %s TO "
            f"{self.name}', relid), '; ') FROM pg_partition_tree({text})); END $$"
        )
