"""Where rows go before they are gone: a table, in the statement that deletes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sweeperd.config.models import SweepConfig
from sweeperd.errors import SweepError
from sweeperd.postgres import catalog
from sweeperd.postgres.catalog import Column, Relation
from sweeperd.postgres.sql.archive import ArchiveTable
from sweeperd.postgres.sql.expired import quote
from sweeperd.postgres.transaction import Connection
from sweeperd.sweep.archive.base import NoArchive

# column of the archive -> its type for the value we give it
_STAMPS: Final = {"archived_at": "timestamptz", "sweep": "text", "correlation_id": "text"}


@dataclass(frozen=True)
class TableArchive(NoArchive):
    """Moves rows into a table: exactly once, in one transaction, which does the rest."""

    table: ArchiveTable | None


async def find_archive(
    connection: Connection, sweep: SweepConfig, root: Relation, cutoff: int, correlation_id: str
) -> TableArchive:
    """Return the archive table of a sweep, with its columns matched by name.

    Raises:
        SweepError: It does not exist, is the table itself, lacks a column or a privilege, or
            has row security.
    """
    name = sweep.archive_to or ""
    relation = await catalog.find_table(connection, name)
    if relation.oid == root.oid:
        raise SweepError(f"archive_to = {name} is the swept table itself", cure="name another")
    source = await catalog.read_columns(connection, root.oid)
    archive = {c.name: c for c in await catalog.read_columns(connection, relation.oid)}
    missing = [column.name for column in source if column.name not in archive]
    if missing:
        adds = ", ".join(
            f"ADD COLUMN {catalog.quote_if_needed(c.name)} {c.shown}"
            for c in source
            if c.name in missing
        )
        raise SweepError(
            f"archive {relation.shown} has no column {', '.join(missing)}",
            cure=f"ALTER TABLE {relation.shown} {adds}",
        )
    if not relation.insertable:
        raise SweepError(
            f"no INSERT privilege on the archive {relation.shown}",
            cure=relation.grant("SELECT, INSERT"),
        )
    if relation.row_security and sweep.row_security == "off":
        role = catalog.quote_if_needed(relation.role)
        raise SweepError(
            f"row security applies to {role} in the archive {relation.shown}",
            cure=f'ALTER ROLE {role} BYPASSRLS, or write row_security = "obey" to insert what its '
            "policies allow",
        )
    values: dict[str, int | str] = {
        "archived_at": cutoff,
        "sweep": sweep.name,
        "correlation_id": correlation_id,
    }
    return TableArchive(_table(relation, source, archive, values))


def _table(
    relation: Relation,
    source: list[Column],
    archive: dict[str, Column],
    values: Mapping[str, int | str],
) -> ArchiveTable:
    copied = tuple(c.name for c in source if not archive[c.name].generated)
    stamps = tuple(
        (name, kind, values[name])
        for name, kind in _STAMPS.items()
        if name in archive and name not in copied
    )
    quoted = f"{quote(relation.schema)}.{quote(relation.name)}"
    return ArchiveTable(quoted, copied, stamps)
