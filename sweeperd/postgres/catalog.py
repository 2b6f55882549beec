"""What a server and a table are, read from the catalogues inside the caller's `reading`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sweeperd.errors import SweepError
from sweeperd.postgres.catalog_reads import CatalogReads, Row
from sweeperd.postgres.names import column_readings, near, table_readings
from sweeperd.postgres.sql import catalog as sql_catalog
from sweeperd.postgres.sql.expired import quote
from sweeperd.postgres.time_setting import milliseconds
from sweeperd.postgres.transaction import major_version

_TYPE_NAMES: Final = {
    "int2": "smallint",
    "int4": "integer",
    "int8": "bigint",
    "float8": "double precision",
    "bool": "boolean",
}
PARAMETER_GRANTS: Final = 15  # since which version SET on a parameter is granted
_KINDS: Final = {"v": "a view", "m": "a materialized view", "f": "a foreign table"}
_CODE_POINT_NAMES: Final = frozenset({"c", "posix", "ucs_basic", "c.utf8", "c.utf-8", "pg_c_utf8"})


@dataclass(frozen=True)
class Server:
    """A server as one transaction saw it.

    Attributes:
        cutoff: Its clock_timestamp(), microseconds since 2000-01-01 UTC.
        deadlock_seconds: The smallest deadlock_timeout that a client may have: the server's, or one
            set for any role or database.
        may_set_deadlock_timeout: Whether the role may set its own.
        shared_buffers: In blocks.
        block_size: In bytes.
        system_identifier: None when the role may not read it.
        timeline: As eight hex digits; None on a standby.
        wal: Its write-ahead log's position in bytes; None on a standby.
        next_xid: The next transaction id; None on a standby.
    """

    database: str
    role: str
    version: int
    cutoff: int
    in_recovery: bool
    read_only: bool
    publishes_deletes: bool
    deadlock_seconds: float
    may_set_deadlock_timeout: bool
    shared_buffers: int
    block_size: int
    system_identifier: int | None
    timeline: str | None
    wal: int | None
    next_xid: int | None


@dataclass(frozen=True)
class Relation:
    """A table or a leaf, and what ``role`` may do with it.

    ``pages`` and ``tuples`` are the last ANALYZE's, ``blocks`` is the size now. ``row_security``
    tells whether it applies to the role, ``policies_by_command`` whether a policy is for some
    commands only. ``delete_rule`` is the name of a rule ON DELETE that fires.
    """

    oid: int
    schema: str
    name: str
    kind: str
    role: str
    has_triggers: bool
    has_children: bool
    partition: bool
    row_security: bool
    pages: int
    tuples: float
    blocks: int
    access_method: str
    usable: bool
    deletable: bool
    readable: bool
    insertable: bool
    lockable: bool
    owned: bool
    maintainable: bool
    statement_trigger: bool
    delete_rule: str | None
    policies_by_command: bool

    @property
    def shown(self) -> str:
        """The name for messages and GRANTs."""
        return f"{quote_if_needed(self.schema)}.{quote_if_needed(self.name)}"

    def grant(self, privileges: str) -> str:
        """Return the GRANT that gives this role privileges on the table."""
        return f"GRANT {privileges} ON {self.shown} TO {quote_if_needed(self.role)}"


@dataclass(frozen=True)
class Column:
    """A column.

    ``type`` is its type's OID, ``base`` the type below any domain, ``shown`` as the operator
    knows it.
    """

    number: int
    name: str
    type: int
    base: str | None
    shown: str
    generated: bool
    collation: int
    collation_provider: str
    collation_name: str | None
    readable: bool


@dataclass(frozen=True)
class Index:
    """An index that holds the column."""

    name: str
    method: str
    valid: bool
    partial: bool
    leads: bool
    collation: int
    ascending: bool

    def serves(self, column: Column) -> bool:
        """Whether slices of the column can use it."""
        whole = self.method == "btree" and self.valid and not self.partial and self.leads
        return whole and self.collation == column.collation


def quote_if_needed(name: str) -> str:
    """Quote a name for a person: only where SQL needs it."""
    plain = name.isascii() and name.isidentifier() and name == name.lower()
    return name if plain else quote(name)


async def read_server(reads: CatalogReads) -> Server:
    """Read the server's facts; what the role may not read is None."""
    facts = dict(await reads.row(sql_catalog.SERVER))
    identifier = None
    if facts.pop("identifiable"):
        identifier = await reads.value(sql_catalog.SYSTEM_IDENTIFIER)
    shortest = [milliseconds(text) or 0.0 for text in facts.pop("other_deadlock_timeouts")]
    deadlock_seconds = min([facts.pop("deadlock_ms"), *shortest]) / 1000
    may_set = facts.pop("may_set_deadlock_timeout")
    if not may_set and major_version(reads.connection) >= PARAMETER_GRANTS:
        may_set = await reads.value(sql_catalog.MAY_SET_DEADLOCK_TIMEOUT)
    return Server(
        **facts,
        version=major_version(reads.connection),
        deadlock_seconds=deadlock_seconds,
        may_set_deadlock_timeout=may_set,
        system_identifier=identifier,
    )


def relations_named(text: str) -> tuple[str, tuple[list[str]]]:
    """Return the question which relations the operator's text may mean."""
    return sql_catalog.RELATIONS, ([name for _, name in table_readings(text)],)


async def find_oid(reads: CatalogReads, text: str) -> int:
    """Return the OID of the one table the operator's text means.

    Raises:
        SweepError: None or two match, or it is not a table.
    """
    query, arguments = relations_named(text)
    rows = await reads.rows(query, *arguments)
    found: list[Row] = []
    for schema, name in table_readings(text):
        found += [
            row
            for row in rows
            if row["name"] == name
            and row not in found
            and (row["visible"] if schema is None else row["schema"] == schema)
        ]
    if not found:
        close = _near_tables(text, await reads.rows(sql_catalog.RELATIONS, None))
        cure = f"did you mean {' or '.join(close)}?" if close else "name it as schema.table"
        raise SweepError(f"table {text} does not exist or is not visible", cure=cure)
    if len(found) > 1:
        names = " and ".join(f"{quote(r['schema'])}.{quote(r['name'])}" for r in found)
        raise SweepError(f"table {text} matches {names}", cure="write one of them, quoted")
    if what := _KINDS.get(found[0]["kind"]):
        raise SweepError(
            f"{text} is {what}, which holds no rows of its own here",
            cure="name the table behind it",
        )
    return int(found[0]["oid"])


async def find_table(reads: CatalogReads, text: str) -> Relation:
    """Return the one table the operator's text means.

    Raises:
        SweepError: None or two match, or it is not a table.
    """
    return await read_relation(reads, await find_oid(reads, text))


def _near_tables(text: str, rows: list[Row]) -> list[str]:
    shown = sorted(f"{quote_if_needed(r['schema'])}.{quote_if_needed(r['name'])}" for r in rows)
    last = text.rpartition(".")[2]
    same = [name for name in shown if name.rpartition(".")[2] == last]
    word = text if "." in text else f"public.{text}"
    return list(dict.fromkeys(same[:3] + near(word, shown)))[:3]


async def read_relation(reads: CatalogReads, oid: int) -> Relation:
    """Read one table by OID.

    Raises:
        SweepError: It is gone.
    """
    rows = await reads.rows(sql_catalog.TABLE, oid)
    if not rows:
        raise SweepError(f"the table with OID {oid} has been dropped", cure="check the sweep")
    return Relation(**dict(rows[0]))


async def read_partitions(reads: CatalogReads, oid: int) -> list[Relation]:
    """Return all that lies below a partitioned table: its leaves, and partitions of partitions."""
    rows = await reads.rows(sql_catalog.PARTITION_TREE, oid)
    return [Relation(**dict(row)) for row in rows]


async def read_columns(reads: CatalogReads, oid: int) -> list[Column]:
    """Return the columns of a table, in order."""
    columns = []
    for row in await reads.rows(sql_catalog.COLUMNS, oid):
        facts = dict(row)
        facts.pop("identity")
        facts["base"] = _TYPE_NAMES.get(facts["base"], facts["base"])
        columns.append(Column(**facts))
    return columns


def find_column(columns: list[Column], table: str, text: str) -> Column:
    """Return the one column the operator's text means.

    Raises:
        SweepError: None or two match.
    """
    readings = column_readings(text)
    found = [column for column in columns if column.name in readings]
    if not found:
        last = [name for _, name in table_readings(text)[:1]]
        if "." in text and any(column.name in last for column in columns):
            raise SweepError(
                f"table {table} has no column {text}",
                cure=f"leave the table out: column = '{quote_if_needed(last[0])}'",
            )
        close = near(text, [column.name for column in columns])
        names = close or [column.name for column in columns][:10]
        cure = f"did you mean {' or '.join(map(quote_if_needed, names))}?"
        raise SweepError(f"table {table} has no column {text}", cure=cure)
    if len(found) > 1:
        names = [quote(column.name) for column in found]
        raise SweepError(
            f"column {text} of {table} matches {' and '.join(names)}",
            cure=f"write one of them, quoted: column = '{names[0]}'",
        )
    return found[0]


async def read_indexes(
    reads: CatalogReads, oids: list[int], column: str
) -> dict[int, tuple[Index, ...]]:
    """Return, by table, the indexes that hold the column (by name: leaves differ in number)."""
    found: dict[int, list[Index]] = {oid: [] for oid in oids}
    for row in await reads.rows(sql_catalog.INDEXES, oids, column):
        facts = dict(row)
        found[facts.pop("relation")].append(Index(**facts))
    return {oid: tuple(indexes) for oid, indexes in found.items()}


async def sorts_as_time(reads: CatalogReads, column: Column) -> bool:
    """Whether the column's collation sorts ISO 8601 text as time, cut to the second."""
    if column.collation_name and column.collation_name.lower() in _CODE_POINT_NAMES:
        return True
    clause = ""
    if column.collation:
        row = await reads.row(sql_catalog.COLLATION, column.collation)
        clause = f" COLLATE {quote(row['schema'])}.{quote(row['name'])}"
    return bool(await reads.value(sql_catalog.sorts_as_time(clause)))


async def primary_key(reads: CatalogReads, oid: int) -> tuple[str, ...]:
    """Return the names of the primary key's columns, or none."""
    return tuple(r["attname"] for r in await reads.rows(sql_catalog.PRIMARY_KEY, oid))


async def is_distributed(reads: CatalogReads, oid: int) -> bool:
    """Whether Citus has spread the table over shards, where ctid is not one heap's own."""
    if not await reads.value(sql_catalog.CITUS):
        return False
    return bool(await reads.value(sql_catalog.DISTRIBUTED, oid))
