"""SQL that keeps what a DELETE takes: into a table, or out as JSON. Pure builders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sweeperd.postgres.sql.expired import AT_MOST, Args, quote
from sweeperd.postgres.sql.slices import NEXT_XID, Slice, Versions, version
from sweeperd.postgres.sql.target import Statement, Target


@dataclass(frozen=True)
class ArchiveTable:
    """An archive and what goes into it.

    Attributes:
        quoted: Its qualified, quoted name.
        columns: Columns copied, by name.
        stamps: Further columns with their type and value: when, by which sweep and run.
    """

    quoted: str
    columns: tuple[str, ...]
    stamps: tuple[tuple[str, str, Any], ...] = ()


def move(deletion: str, reference: str, archive: ArchiveTable, args: Args) -> str:
    """Delete rows and insert them elsewhere; the query behind it reads ``gone`` and ``kept``.

    Identity columns take the values of the rows.
    """
    names = ", ".join(quote(name) for name in archive.columns)
    returned = ", ".join(f"{reference}.{quote(name)}" for name in archive.columns)
    stamped = "".join(f", {quote(name)}" for name, _, _ in archive.stamps)
    stamps = "".join(f", {args.add(value, kind)}" for _, kind, value in archive.stamps)
    return (
        f"WITH gone AS ({deletion} RETURNING {returned}), "
        f"kept AS (INSERT INTO {archive.quoted} ({names}{stamped}) OVERRIDING SYSTEM VALUE "
        f"SELECT {names}{stamps} FROM gone RETURNING 1)"
    )


LONGEST_LINE: Final = 16 << 20  # bytes; a longer row is not archived
SHORT_LINE: Final = 32_768  # bytes; what is longer is read by itself

DECLARE: Final = "DECLARE kept NO SCROLL CURSOR FOR"
FETCH: Final = "FETCH 500 FROM kept"

# What JSON carries exactly, and as a person expects it; all else goes as its own text form.
_AS_JSON: Final = frozenset(
    {"smallint", "integer", "bigint", "numeric", "double precision", "float4", "boolean"}
)


def read_rows(
    target: Target, part: Slice, columns: Sequence[tuple[str, str]], limit: int
) -> Statement:
    """Read a slice's expired rows: place, version, horizon, line of JSON and its size in bytes.

    A type's own text form, read by its own input, is the value again, whatever the type: bounds of
    arrays, blanks in json, a null inside a composite. A long line is left out, to be read alone; of
    a row that is longer than any line may be, none is made.

    Args:
        target: What goes from where.
        part: The slice.
        columns: Name and base type of each column.
        limit: Rows wanted; one more tells that there are more.
    """
    args = Args()
    row = target.table.reference
    stored = _stored(row, columns)
    return Statement(
        "WITH read AS MATERIALIZED ("
        f"SELECT {row}.ctid AS place, {version(row)} AS version, {stored} AS stored, "
        f"CASE WHEN {stored} {AT_MOST} {LONGEST_LINE} THEN {_line(row, columns)} END AS line "
        f"FROM {target.table.source} "
        f"WHERE {part.narrow(target, args)} LIMIT {args.add(limit + 1, 'bigint')}) "
        f"SELECT place, version, (SELECT {NEXT_XID}) AS horizon, "
        "coalesce(pg_catalog.octet_length(line), stored) AS size, "
        f"CASE WHEN pg_catalog.octet_length(line) {AT_MOST} {SHORT_LINE} THEN line END AS line "
        "FROM read",
        tuple(args),
    )


def read_line(target: Target, row: Versions, columns: Sequence[tuple[str, str]]) -> Statement:
    """Read one row's line of JSON; none where another version is there now."""
    args = Args()
    line = _line(target.table.reference, columns)
    return Statement(
        f"SELECT {line} FROM {target.table.source} WHERE {row.limits(target, args)}", tuple(args)
    )


def _stored(row: str, columns: Sequence[tuple[str, str]]) -> str:
    """Return the bytes of a row's values; nothing that lies outside of the heap is fetched for it.

    Of text and bytea the length stands in the row; other types tell what they take on disk.
    """
    sizes = [
        f"coalesce(pg_catalog.octet_length({row}.{quote(name)}), 0)::pg_catalog.int8"
        if kind in {"text", "bytea", "varchar"}
        else f"coalesce(pg_catalog.pg_column_size({row}.{quote(name)}), 0)::pg_catalog.int8"
        for name, kind in columns
    ]
    return f"({' OPERATOR(pg_catalog.+) '.join(sizes) or '0::pg_catalog.int8'})"


def _line(row: str, columns: Sequence[tuple[str, str]]) -> str:
    names = [
        f"{row}.{quote(name)}"
        if kind in _AS_JSON
        else f"{row}.{quote(name)}::pg_catalog.text AS {quote(name)}"
        for name, kind in columns
    ]
    line = "line"
    while any(line == name for name, _ in columns):  # a column of that name would be meant
        line += "_"
    return (
        f"(SELECT pg_catalog.row_to_json({line})::pg_catalog.text "
        f"FROM (SELECT {', '.join(names)}) AS {line})"
    )


# Text forms must not depend on the role's settings, else a restore differs. With ISO dates an
# instant carries its offset, so TimeZone may stay as triggers know it; and so does the order of
# day and month (MDY, DMY), by which the operator's condition may read text.
EXACT_TEXT: Final = (
    "SET LOCAL extra_float_digits = 1; SET LOCAL bytea_output = hex; "
    "SET LOCAL DateStyle = 'ISO'; SET LOCAL IntervalStyle = postgres"
)
