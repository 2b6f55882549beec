"""Rows for a table of a known application, on both sides of the line between kept and expired."""

from __future__ import annotations

import itertools
import re
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import asyncpg

from sweeperd.config.presets.preset import Preset
from tests.conftest import TestDatabase
from tests.parts import SHARED

COLUMNS = """
SELECT attname AS name, format_type(atttypid, NULL) AS type, typtype::text AS kind, typname,
       attnotnull AS required, atttypmod AS modifier,
       atthasdef OR attidentity <> '' AS filled,
       (SELECT array_agg(enumlabel::text ORDER BY enumsortorder) FROM pg_enum
        WHERE enumtypid = atttypid) AS labels
FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid
WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
# how far a row's time is from the line, in seconds; none is near enough to move over it in a test
DISTANCES = (-(10**8), -(10**6), -90_000, -4_000, -100, 100, 4_000, 90_000, 10**6, 10**8)


@dataclass(frozen=True)
class Case:
    """A preset, on the DDL of its project.

    Attributes:
        store: The file in shared/stores; "" for ``ddl``.
        keys: What the operator writes beside it.
        values: SQL for some columns, ``g`` being the row's number; a list is one row after another.
        before: Statements that make what its rows refer to.
        lines: Columns with the row's time, if not the preset's own column.
    """

    preset: str
    store: str = ""
    ddl: str = ""
    keys: dict[str, str] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)
    before: str = ""
    lines: tuple[str, ...] = ()


def ddl(case: Case) -> str:
    if not case.store:
        return case.ddl
    text = (SHARED / "stores" / f"{case.store}.sql").read_text()
    # an extension that its tables do not use
    return re.sub(r"(?m)^(\\|CREATE EXTENSION).*$", "", text)


async def fill(database: TestDatabase, case: Case, preset: Preset, keep: timedelta) -> None:
    """Write the rows: each distance from the line, each enum value, NULLs and what never ends."""
    table = case.keys.get("table") or preset.table
    columns = await database.fetch(COLUMNS, table)
    lines = case.lines or (preset.column or "",)
    await database.execute("SET session_replication_role = replica")
    await database.execute(case.before or "SELECT 1")
    labels = next((c["labels"] for c in columns if c["labels"]), ["-"])
    flags = [c["name"] for c in columns if c["typname"] == "bool" and c["name"] not in case.values]
    zone = case.keys.get("column_timezone") or preset.column_timezone or "UTC"
    kinds = itertools.product([*DISTANCES, None, "never"], labels, range(2 ** min(len(flags), 2)))
    for number, (distance, label, bits) in enumerate(kinds, 1):
        row: dict[str, str] = {}
        for column in columns:
            name = column["name"]
            if name in lines:
                value = _time(column, distance, keep, preset, zone)
                if value is not None:
                    row[name] = value
            elif name in case.values:
                row[name] = case.values[name].replace(":g", str(number))
            elif column["labels"]:
                row[name] = f"'{label}'"
            elif name in flags:
                row[name] = str(bool(bits >> flags.index(name) & 1))
            elif column["required"] and not column["filled"]:
                row[name] = _plain(column, number)
        names = ", ".join(f'"{name}"' for name in row)
        with suppress(asyncpg.CheckViolationError):  # the application cannot write it either
            values = ", ".join(row.values())
            await database.execute(f"INSERT INTO {table} ({names}) VALUES ({values})")
    await database.execute("RESET session_replication_role")


def _time(column: Any, distance: object, keep: timedelta, preset: Preset, zone: str) -> str | None:
    epoch = column["typname"] in {"int4", "int8"}
    if distance is None:
        if not column["required"]:
            return "NULL"
        distance = "never"
    if distance == "never":
        if epoch:
            return str(2**31 - 1 if column["typname"] == "int4" else 2**63 - 1)
        return "'9999-12-31 23:59:59'" if column["required"] else "'infinity'"
    assert isinstance(distance, int)
    seconds = int(keep.total_seconds()) - distance
    if epoch:
        scale = 1000 if preset.unit == "epoch_ms" else 1
        return f"(extract(epoch FROM now())::bigint - {seconds}) * {scale}"
    moment = f"now() - {seconds} * interval '1 second'"
    return moment if column["typname"] == "timestamptz" else f"({moment}) AT TIME ZONE '{zone}'"


def _plain(column: Any, number: int) -> str:
    kind = column["typname"]
    if kind in {"int2", "int4", "int8", "numeric", "float8"}:
        return str(number)
    if kind in {"timestamptz", "timestamp", "date"}:
        return "now()"
    return {
        "bytea": f"'\\x{number:04x}'",
        "json": "'{}'",
        "jsonb": "'{}'",
        "uuid": "gen_random_uuid()",
        "inet": "'127.0.0.1'",
        "bool": "true",
    }.get(kind, f"'{number}'")
