"""What a database's tables are made of, and a bounded look at one column."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import asyncpg

from sweeperd.postgres.sql import discover as sql
from sweeperd.postgres.sql.target import Table as Source
from sweeperd.postgres.transaction import Connection, Frame, reading

_SAMPLE_ROWS: Final = 5_000
_WHOLE: Final = 100.0
# types as presets name them
_TYPE_NAMES: Final = {
    "int2": "smallint",
    "int4": "integer",
    "int8": "bigint",
    "float8": "double precision",
    "bool": "boolean",
}
_LONGEST_MS: Final = 5_000
_LONGEST_SAMPLE_MS: Final = 500


@dataclass(frozen=True)
class Table:
    """One table, from the catalogue.

    Attributes:
        oid: Its OID.
        schema: Its schema.
        name: Its name.
        types: The type of each column, as presets name types.
        required: Columns that are NOT NULL.
        leading: Columns that lead a whole index.
        referencing: Tables with a foreign key onto it.
        tuples: Rows by the last ANALYZE; 0 where there was none.
        readable: Whether this role may read it.
    """

    oid: int
    schema: str
    name: str
    types: Mapping[str, str]
    required: frozenset[str]
    leading: frozenset[str]
    referencing: tuple[str, ...]
    tuples: int
    readable: bool

    @property
    def shown(self) -> str:
        """The name as an operator writes it."""
        return ".".join(
            part if part.isidentifier() and part.islower() else '"' + part.replace('"', '""') + '"'
            for part in (self.schema, self.name)
        )


@dataclass(frozen=True)
class Look:
    """What a sample of a column shows; times are seconds from now.

    Attributes:
        rows: Rows sampled.
        times: Those whose value is a time.
        expired: Those past their keep.
        first: The earliest time; None without any.
        last: The latest time.
        size: Bytes of the table: heap, TOAST and indexes.
    """

    rows: int
    times: int
    expired: int
    first: float | None
    last: float | None
    size: int

    @property
    def dead_weight(self) -> int:
        """Bytes that the expired rows take, their share of heap, TOAST and indexes."""
        return self.size * self.expired // self.rows if self.rows else 0


async def read_tables(connection: Connection, schema: str | None) -> list[Table]:
    """Return the tables of a database, or of one schema; one query."""
    async with reading(connection, Frame(statement_timeout_ms=_LONGEST_MS * 3)):
        rows = await connection.fetch(sql.TABLES, schema)
    return [_table(row) for row in rows]


def _table(row: asyncpg.Record) -> Table:
    columns = json.loads(row["columns"])
    return Table(
        oid=row["oid"],
        schema=row["schema"],
        name=row["name"],
        types={one["name"]: _type(one["type"]) for one in columns},
        required=frozenset(one["name"] for one in columns if one["required"]),
        leading=frozenset(row["lead_by"] or ()),
        referencing=tuple(row["referencing"] or ()),
        tuples=row["tuples"],
        readable=row["readable"],
    )


def _type(name: str) -> str:
    if name.startswith("."):
        # an application's own type; one called "text" is not the built-in one
        return name[1:] if "_" in name else name
    return _TYPE_NAMES.get(name, name)


async def look(
    connection: Connection, table: Table, column: str, unit: str, *, zone: str, keep: float
) -> Look | None:
    """Return what a sample of the column shows; None where it cannot be read in time."""
    percent = _WHOLE
    if table.tuples > _SAMPLE_ROWS * 4:
        percent = _WHOLE * _SAMPLE_ROWS * 2 / table.tuples
    source = Source(table.schema, table.name, only=False)
    query = sql.sample(source, column, unit, zone=zone, percent=percent, limit=_SAMPLE_ROWS)
    frame = Frame(statement_timeout_ms=_LONGEST_SAMPLE_MS, lock_timeout_ms=100)
    try:
        async with reading(connection, frame):
            row = await connection.fetchrow(query, -keep)
            size = await connection.fetchval(sql.BYTES, table.oid)
    except asyncpg.PostgresError:
        return None
    if row is None:
        return None
    return Look(row["rows"], row["times"], row["expired"], row["first"], row["last"], size or 0)


async def weigh(connection: Connection, table: Table) -> Look | None:
    """Return a look at a table's size alone; None where it cannot be told in time."""
    try:
        async with reading(connection, Frame(statement_timeout_ms=_LONGEST_SAMPLE_MS)):
            size = await connection.fetchval(sql.BYTES, table.oid)
    except asyncpg.PostgresError:
        return None
    return Look(0, 0, 0, None, None, size or 0)
