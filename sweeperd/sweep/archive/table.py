"""Where rows go before they are gone: a table, in the statement that deletes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sweeperd.config.models import SweepConfig
from sweeperd.errors import SweepError
from sweeperd.postgres import catalog
from sweeperd.postgres.catalog import Relation
from sweeperd.postgres.catalog_reads import CatalogReads
from sweeperd.postgres.sql import archive_columns as sql
from sweeperd.postgres.sql.archive import ArchiveTable
from sweeperd.postgres.sql.expired import quote
from sweeperd.postgres.transaction import Connection
from sweeperd.sweep.archive.base import NoArchive
from sweeperd.sweep.archive.lossless import ColumnType, is_lossless

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
        SweepError: It does not exist, is the table itself or in its tree, lacks a column or a
            privilege, would not take each value as it is, or has row security.
    """
    name = sweep.archive_to or ""
    reads = CatalogReads(connection)
    relation = await catalog.find_table(reads, name)
    if relation.oid == root.oid:
        raise SweepError(f"archive_to = {name} is the swept table itself", cure="name another")
    if await connection.fetchval(sql.SAME_TREE, root.oid, relation.oid):
        raise SweepError(
            f"archive_to = {name} and the swept table {root.shown} are parts of one partitioned "
            "table: rows would come back",
            cure="name a table of its own",
        )
    columns = [
        ColumnType(**dict(row))
        for row in await connection.fetch(sql.COLUMNS, [root.oid, relation.oid])
    ]
    source = [column for column in columns if column.relation == root.oid]
    archive = {column.name: column for column in columns if column.relation == relation.oid}
    _require_columns(relation, source, archive)
    await _require_lossless(connection, relation, source, archive)
    _require_insertable(relation, sweep)
    values: dict[str, int | str] = {
        "archived_at": cutoff,
        "sweep": sweep.name,
        "correlation_id": correlation_id,
    }
    return TableArchive(_table(relation, source, archive, values))


def _require_columns(
    relation: Relation, source: list[ColumnType], archive: Mapping[str, ColumnType]
) -> None:
    names = {column.name for column in source}
    missing = [column for column in source if column.name not in archive]
    if missing:
        adds = ", ".join(f"ADD COLUMN {catalog.quote_if_needed(c.name)} {c.shown}" for c in missing)
        raise SweepError(
            f"archive {relation.shown} has no column {', '.join(c.name for c in missing)}",
            cure=f"ALTER TABLE {relation.shown} {adds}",
        )
    ungiven = [c for c in archive.values() if c.must_be_given and c.name not in {*names, *_STAMPS}]
    if ungiven:
        drops = ", ".join(
            f"ALTER COLUMN {catalog.quote_if_needed(c.name)} DROP NOT NULL" for c in ungiven
        )
        raise SweepError(
            f"archive {relation.shown} wants a value for {', '.join(c.name for c in ungiven)}, "
            "which the swept table does not have",
            cure=f"ALTER TABLE {relation.shown} {drops}",
        )


async def _require_lossless(
    connection: Connection,
    relation: Relation,
    source: list[ColumnType],
    archive: Mapping[str, ColumnType],
) -> None:
    """Refuse columns whose type is not known to keep each value.

    Raises:
        SweepError: There are some.
    """
    lossy = [
        (column, archive[column.name])
        for column in source
        if not archive[column.name].generated and not is_lossless(column, archive[column.name])
    ]
    if not lossy:
        return
    old, new = [kept.type for _, kept in lossy], [column.type for column, _ in lossy]
    plain = {row["number"] for row in await connection.fetch(sql.CASTS, old, new)}
    alters = []
    for number, (column, _) in enumerate(lossy, 1):
        quoted = catalog.quote_if_needed(column.name)
        using = "" if number in plain else f" USING {quoted}::text::{column.shown}"
        alters.append(f"ALTER COLUMN {quoted} TYPE {column.shown}{using}")
    told = ", ".join(f"{c.name} ({kept.shown} for {c.shown})" for c, kept in lossy)
    raise SweepError(
        f"archive {relation.shown} may lose or change values of {told}",
        cure=f"ALTER TABLE {relation.shown} {', '.join(alters)}",
    )


def _require_insertable(relation: Relation, sweep: SweepConfig) -> None:
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


def _table(
    relation: Relation,
    source: list[ColumnType],
    archive: Mapping[str, ColumnType],
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
