"""Whether the role that sweeps may do more than sweeping needs, and the role that would do."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Final

from sweeperd.config.models import SweepConfig
from sweeperd.config.values.sql_expression import expression_pieces
from sweeperd.errors import SweepError
from sweeperd.postgres import catalog
from sweeperd.postgres.catalog import PARAMETER_GRANTS, Relation, Server, quote_if_needed
from sweeperd.postgres.catalog_reads import CatalogReads, Row
from sweeperd.postgres.sql import catalog as sql_catalog
from sweeperd.postgres.sql.expired import quote
from sweeperd.postgres.sql.literals import quote_literal
from sweeperd.postgres.transaction import Connection, reading
from sweeperd.sweep.survey.frame import table_frame
from sweeperd.sweep.survey.target import table_of
from sweeperd.sweep.survey.trust import parse_trusted

# what each attribute of pg_roles is called
_ATTRIBUTES: Final = {
    "superuser": "is a superuser",
    "bypasses_row_security": "has BYPASSRLS",
    "creates_roles": "has CREATEROLE",
    "replicates": "has REPLICATION",
}
_MOST_NAMED: Final = 5
_MAINTAIN_SINCE: Final = 17


@dataclass(frozen=True)
class _Swept:
    """A table of some sweeps, with its partitions.

    Attributes:
        table: The table.
        parts: The table and all that lies below it.
        needs_owner: Whether a sweep detaches, drops or vacuums.
        detaches: Whether one detaches or drops, which only an owner may.
    """

    table: Relation
    parts: tuple[Relation, ...]
    needs_owner: bool
    detaches: bool = False


@dataclass(frozen=True)
class _Needs:
    """What some sweeps need, and the role that runs them.

    Attributes:
        role: What the catalogue says of the role.
        tables: What is swept.
        archives: The tables that take rows.
        bypass: Whether row security must be bypassed.
    """

    role: Row
    tables: list[_Swept]
    archives: list[Relation]
    bypass: bool

    @property
    def oids(self) -> list[int]:
        """The swept tables and all that lies below them."""
        return [part.oid for one in self.tables for part in one.parts]

    def free_name(self) -> str:
        """Return a name that no role of the server has."""
        taken: Collection[str] = self.role["taken"] or ()
        names = ("sweeperd" if number == 1 else f"sweeperd_{number}" for number in count(1))
        return next(name for name in names if name not in taken)


async def _needs(reads: CatalogReads, sweeps: list[SweepConfig]) -> _Needs:
    role = await reads.row(sql_catalog.ROLE)
    needs = _Needs(role, await _tables(reads, sweeps), await _archives(reads, sweeps), bypass=False)
    secured = await reads.value(sql_catalog.ROW_SECURED, needs.oids)
    obeyed = all(sweep.row_security == "obey" for sweep in sweeps)
    return replace(needs, bypass=bool(secured) and not obeyed)


async def excess_rights(connection: Connection, sweeps: list[SweepConfig]) -> str | None:
    """Return what the role may do beyond sweeping, and the role that would do; None if nothing.

    Rights that the sweeps need are not excess: an owner's for partitions and VACUUM, BYPASSRLS for
    a table with row security.

    Args:
        connection: Outside a transaction.
        sweeps: Those on this database.
    """
    async with reading(connection):
        needs = await _needs(CatalogReads(connection), sweeps)
    role = needs.role
    found = [words for key, words in _ATTRIBUTES.items() if role[key]]
    if role["superuser"]:  # which has all of the others
        found = found[:1]
    elif needs.bypass:
        found = [words for words in found if words != _ATTRIBUTES["bypasses_row_security"]]
    found += [f"is a member of {quote_if_needed(name)}" for name in role["memberships"]]
    if role["owned_database"]:
        found.append(f"owns the database {quote_if_needed(role['owned_database'])}")
    if not role["superuser"]:
        found += _owned(needs.tables)
    if not found:
        return None
    least = _LeastRole(needs.free_name(), bypasses=needs.bypass)
    made = "; ".join(least.statements(needs.tables, needs.archives))
    return (
        f"role {quote_if_needed(role['name'])} {', '.join(found)}: the triggers of every swept "
        f"table run with these rights; a role with less is enough: {made}"
    )


@dataclass(frozen=True)
class Grants:
    """The role with the least rights for some sweeps, as SQL.

    Attributes:
        role: Its name.
        system_identifier: Of the server; None where it could not be read.
        statements: To be run in the sweeps' database by who may grant these rights, in order; a
            comment where a right has to be arranged by hand.
    """

    role: str
    system_identifier: int | None
    statements: tuple[str, ...]


async def least_role(
    connection: Connection, sweeps: list[SweepConfig], known: dict[int | None, str]
) -> Grants:
    """Return the role with the least rights for these sweeps.

    Args:
        connection: Outside a transaction.
        sweeps: Those on this database.
        known: The roles that are made already, by the server's system identifier.

    Raises:
        SweepError: A sweep's where or condition is refused.
    """
    async with reading(connection):
        reads = CatalogReads(connection)
        server = await catalog.read_server(reads)
        needs = await _needs(reads, sweeps)
        owners = {row["oid"]: row for row in await reads.rows(sql_catalog.OWNERS, needs.oids)}
    made = known.get(server.system_identifier)
    least = _LeastRole(made or needs.free_name(), bypasses=needs.bypass)
    statements = least.statements(needs.tables, needs.archives)
    if made is not None:
        statements[:1] = [f"ALTER ROLE {made} BYPASSRLS"] if needs.bypass else []
    read = await _read_by_text(connection, sweeps)
    statements += least.reads([one for one in read if one.oid not in needs.oids])
    statements += least.of_server(server)
    statements += least.of_owners(needs.tables, owners, server.version)
    return Grants(least.name, server.system_identifier, tuple(statements))


async def _read_by_text(connection: Connection, sweeps: Iterable[SweepConfig]) -> list[Relation]:
    """Return what where and condition read."""
    found: dict[int, Relation] = {}
    for sweep in sweeps:
        pieces = expression_pieces(sweep.where, sweep.condition)
        if pieces is None:
            continue
        async with reading(connection, table_frame(sweep)):
            reads = CatalogReads(connection)
            try:
                root = await catalog.find_table(reads, sweep.table)
            except SweepError:  # told with the sweep
                continue
            table = table_of(root, root, whole=root.kind == "p")
            parsed, _ = await parse_trusted(connection, root, table, pieces)
        async with reading(connection):
            reads = CatalogReads(connection)
            for oid in sorted(parsed.relations):
                found[oid] = await catalog.read_relation(reads, oid)
    return [one for one in found.values() if one.schema != "pg_catalog"]


async def _tables(reads: CatalogReads, sweeps: Iterable[SweepConfig]) -> list[_Swept]:
    found: dict[int, _Swept] = {}
    for sweep in sweeps:
        try:
            table = await catalog.find_table(reads, sweep.table)
        except SweepError:  # told with the sweep
            continue
        needs_owner = sweep.partitions != "delete" or sweep.vacuum == "auto"
        detaches = sweep.partitions != "delete"
        if table.oid in found:
            needs_owner = needs_owner or found[table.oid].needs_owner
            detaches = detaches or found[table.oid].detaches
        below = await catalog.read_partitions(reads, table.oid) if table.kind == "p" else []
        found[table.oid] = _Swept(table, (table, *below), needs_owner, detaches)
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


@dataclass(frozen=True)
class _LeastRole:
    """A role that may do what sweeping needs, and no more."""

    name: str
    bypasses: bool

    def of_server(self, server: Server) -> list[str]:
        """Return what it may do on the server."""
        return [
            f"GRANT CONNECT ON DATABASE {quote_if_needed(server.database)} TO {self.name}",
            f"GRANT EXECUTE ON FUNCTION pg_catalog.pg_control_system() TO {self.name}",
            *(
                [f"GRANT SET ON PARAMETER deadlock_timeout TO {self.name}"]
                if server.version >= PARAMETER_GRANTS
                else []
            ),
        ]

    def reads(self, relations: list[Relation]) -> list[str]:
        """Return what where and condition need."""
        schemas = dict.fromkeys(quote_if_needed(one.schema) for one in relations)
        return [
            *(f"GRANT USAGE ON SCHEMA {schema} TO {self.name}" for schema in schemas),
            *(f"GRANT SELECT ON {one.shown} TO {self.name}" for one in relations),
        ]

    def of_owners(
        self, tables: list[_Swept], owners: Mapping[int, Row], server_major: int
    ) -> list[str]:
        """Return what detaching, dropping and VACUUM need."""
        wanted: dict[str, None] = {}
        for one in tables:
            if one.needs_owner and not one.detaches and server_major >= _MAINTAIN_SINCE:
                names = ", ".join(part.shown for part in one.parts)
                wanted[f"GRANT MAINTAIN ON {names} TO {self.name}"] = None
            elif one.needs_owner:
                for part in one.parts:
                    owner = owners[part.oid]
                    if owner["superuser"]:
                        wanted[
                            f"-- partitions or vacuum need the owner of {part.shown}, which is a "
                            "superuser: give it one that is none, and grant that one"
                        ] = None
                    else:
                        wanted[f"GRANT {quote(owner['name'])} TO {self.name}"] = None
        return list(wanted)

    def statements(self, tables: list[_Swept], archives: list[Relation]) -> list[str]:
        """Return what makes it and lets it sweep."""
        every = [*(one.table for one in tables), *archives]
        schemas = dict.fromkeys(quote_if_needed(table.schema) for table in every)
        return [
            f"CREATE ROLE {self.name} LOGIN{' BYPASSRLS' if self.bypasses else ''}",
            *(f"GRANT USAGE ON SCHEMA {schema} TO {self.name}" for schema in schemas),
            *(self._grant(one) for one in tables),
            *(f"GRANT SELECT, INSERT ON {archive.shown} TO {self.name}" for archive in archives),
        ]

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
