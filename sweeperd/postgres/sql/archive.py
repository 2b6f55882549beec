"""SQL that keeps what a DELETE takes: into a table, or out as JSON. Pure builders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sweeperd.postgres.sql.expired import AT_MOST, EQUAL, Args, quote
from sweeperd.postgres.sql.rows import Slice, Statement, Target


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


SHORT_LINE: Final = 65_536  # bytes; what is longer is read by itself

DECLARE: Final = "DECLARE kept NO SCROLL CURSOR FOR"
FETCH: Final = "FETCH 500 FROM kept"

# What JSON carries exactly, and as a person expects it; all else goes as its own text form.
_AS_JSON: Final = frozenset(
    {"smallint", "integer", "bigint", "numeric", "double precision", "float4", "boolean"}
)


def read_rows(
    target: Target, part: Slice, columns: Sequence[tuple[str, str]], limit: int
) -> Statement:
    """Read a slice's expired rows: place, version, line of JSON and its size in bytes.

    A type's own text form, read by its own input, is the value again, whatever the type: bounds of
    arrays, blanks in json, a null inside a composite. A long line is left out, to be read alone.

    Args:
        target: What goes from where.
        part: The slice.
        columns: Name and base type of each column.
        limit: Rows wanted; one more tells that there are more.
    """
    args = Args()
    row = target.table.reference
    return Statement(
        "WITH read AS MATERIALIZED ("
        f"SELECT {row}.ctid AS place, {row}.xmin::pg_catalog.text AS version, "
        f"{_line(row, columns)} AS line FROM {target.table.source} "
        f"WHERE {part.narrow(target, args)} LIMIT {args.add(limit + 1, 'bigint')}) "
        "SELECT place, version, pg_catalog.octet_length(line) AS size, "
        f"CASE WHEN pg_catalog.octet_length(line) {AT_MOST} {SHORT_LINE} THEN line END AS line "
        "FROM read",
        tuple(args),
    )


def read_line(
    target: Target, tid: tuple[int, int], columns: Sequence[tuple[str, str]]
) -> Statement:
    """Read one row's line of JSON."""
    args = Args()
    row = target.table.reference
    return Statement(
        f"SELECT {_line(row, columns)} FROM {target.table.source} "
        f"WHERE {row}.ctid {EQUAL} {args.add(tid, 'tid')}",
        tuple(args),
    )


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
