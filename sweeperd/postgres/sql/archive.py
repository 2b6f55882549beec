"""SQL that keeps what a DELETE takes: into a table, or out as JSON. Pure builders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sweeperd.postgres.sql.expired import Args, quote
from sweeperd.postgres.sql.rows import Statement


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


# What JSON carries exactly, and as a person expects it; all else goes as its own text form.
_AS_JSON: Final = frozenset(
    {"smallint", "integer", "bigint", "numeric", "double precision", "float4", "boolean"}
)


def delete_returning_json(
    delete: Statement, reference: str, columns: Sequence[tuple[str, str]]
) -> Statement:
    """Delete and return each row as one line of JSON.

    A type's own text form, read by its own input, is the value again, whatever the type:
    bounds of arrays, blanks in json, a null inside a composite.

    Args:
        delete: The DELETE.
        reference: What its columns are qualified by.
        columns: Name and base type of each.
    """
    names = [
        quote(name) if kind in _AS_JSON else f"{quote(name)}::pg_catalog.text AS {quote(name)}"
        for name, kind in columns
    ]
    row = "line"
    while any(row == name for name, _ in columns):  # a column of that name would be meant
        row += "_"
    return Statement(
        f"WITH gone AS ({delete.text} RETURNING {reference}.*) "
        f"SELECT pg_catalog.row_to_json({row})::pg_catalog.text "
        f"FROM (SELECT {', '.join(names)} FROM gone) AS {row}",
        delete.args,
    )


# Text forms must not depend on the role's settings, else a restore differs. With ISO dates an
# instant carries its offset, so TimeZone may stay as triggers know it; and so does the order of
# day and month (MDY, DMY), by which the operator's condition may read text.
EXACT_TEXT: Final = (
    "SET LOCAL extra_float_digits = 1; SET LOCAL bytea_output = hex; "
    "SET LOCAL DateStyle = 'ISO'; SET LOCAL IntervalStyle = postgres"
)
