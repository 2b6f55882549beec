"""SQL that keeps what a DELETE takes: into a table, or out as JSON. Pure builders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sweeperd.postgres.predicate import Args, quote
from sweeperd.postgres.sql import Statement


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


def delete_into(delete: Statement, reference: str, archive: ArchiveTable) -> Statement:
    """Delete and insert in one statement; return rows gone and rows kept.

    Both are counted, since a trigger on the archive may drop what it is given. Identity
    columns take the values of the rows.
    """
    args = Args(delete.args)
    names = ", ".join(quote(name) for name in archive.columns)
    returned = ", ".join(f"{reference}.{quote(name)}" for name in archive.columns)
    stamped = "".join(f", {quote(name)}" for name, _, _ in archive.stamps)
    stamps = "".join(f", {args.add(value, kind)}" for _, kind, value in archive.stamps)
    return Statement(
        f"WITH gone AS ({delete.text} RETURNING {returned}), "
        f"kept AS (INSERT INTO {archive.quoted} ({names}{stamped}) OVERRIDING SYSTEM VALUE "
        f"SELECT {names}{stamps} FROM gone RETURNING 1) "
        f"SELECT (SELECT count(*) FROM gone) AS gone, (SELECT count(*) FROM kept) AS kept",
        tuple(args),
    )


def delete_returning_json(delete: Statement, reference: str) -> Statement:
    """Delete and return each row as JSON text, exact in number and time."""
    return Statement(f"{delete.text} RETURNING row_to_json({reference})::text", delete.args)


# Text forms inside JSON must not depend on the role's settings, else a restore differs.
EXACT_TEXT = (
    "SET LOCAL extra_float_digits = 1; SET LOCAL bytea_output = hex; "
    "SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL IntervalStyle = postgres"
)
