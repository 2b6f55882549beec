"""A sweep's memory as rows: one for each field, one for each entry of a field that is a mapping.

So a commit, which moves one leaf, writes one row of it, however many leaves there are.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Final

from sweeperd.daemon.state.memory import MEMORY_VERSION, JsonObject
from sweeperd.daemon.state.record import SweepRecord, parsed, record_to_json

_VERSION: Final = "version"
Key = tuple[str, str | None]  # the field, and of a mapping the entry


@dataclass(frozen=True)
class Snapshot:
    """A record as it was at one moment, while its memory moves on.

    The values themselves are frozen; what tells two of them apart is looked at by the writer.

    Attributes:
        name: The sweep's.
        record: The record; its memory is not looked at.
        memory: The memory's fields; a mapping is a copy.
        keeps_schedule: Whether only the memory is written where the sweep has a record.
    """

    name: str
    record: SweepRecord
    memory: Mapping[str, object]
    keeps_schedule: bool = False

    @classmethod
    def of(cls, name: str, record: SweepRecord, *, keeps_schedule: bool = False) -> Snapshot:
        """Take it; cheap, for the event loop."""
        values = {one.name: getattr(record.memory, one.name) for one in fields(record.memory)}
        memory = {
            key: dict(value) if isinstance(value, dict) else value for key, value in values.items()
        }
        return cls(name, record, memory, keeps_schedule)

    @property
    def schedule(self) -> str:
        """The record without its memory and its runs, as JSON."""
        return json.dumps(record_to_json(self.record))

    def changed(self, former: Snapshot | None) -> dict[Key, str]:
        """Return the rows that differ from a former snapshot; all of them without one."""
        known = former.memory if former is not None else None
        rows: dict[Key, str] = {} if known is not None else {(_VERSION, None): f"{MEMORY_VERSION}"}
        for part, value in self.memory.items():
            old = known[part] if known is not None else None
            if not isinstance(value, dict):
                if known is None or old != value:
                    rows[part, None] = _text(value)
                continue
            if known is None:
                rows[part, None] = "{}"
            entries = old if isinstance(old, dict) else {}
            for key, entry in value.items():
                if key not in entries or (entries[key] is not entry and entries[key] != entry):
                    rows[part, key] = _text(entry)
        return rows

    def removed(self, former: Snapshot | None) -> list[Key]:
        """Return the rows of a former snapshot that are no more."""
        if former is None:
            return []
        return [
            (part, key)
            for part, entries in former.memory.items()
            if isinstance(entries, dict)
            for key in entries
            if key not in self._entries(part)
        ]

    def write(self, connection: sqlite3.Connection, former: Snapshot | None) -> None:
        """Write the rows of the memory that differ from a former snapshot."""
        for (part, key), text in self.changed(former).items():
            table, names, values = _place(part, key)
            marks = "?, " * len(values)
            connection.execute(
                f"INSERT OR REPLACE INTO {table} (sweep, {names}, value) VALUES (?, {marks}?)",
                (self.name, *values, text),
            )
        for part, key in self.removed(former):
            connection.execute(
                "DELETE FROM memory_entry WHERE sweep = ? AND part = ? AND key = ?",
                (self.name, part, key),
            )

    def _entries(self, part: str) -> Mapping[str, object]:
        found = self.memory[part]
        return found if isinstance(found, dict) else {}


def memory_of_rows(rows: Mapping[Key, object]) -> JsonObject:
    """Return a memory as the JSON-able fields that its rows were made of.

    Raises:
        ValueError: A row is damaged.
    """
    plain: JsonObject = {}
    for (part, key), text in rows.items():
        if key is None:
            plain[part] = parsed(text, part)
    for (part, key), text in rows.items():
        if key is None:
            continue
        entries = plain.get(part)
        if not isinstance(entries, dict):
            raise ValueError(f"{part}: it is not an object")  # noqa: TRY004 - one error
        entries[key] = parsed(text, f"{part}.{key}")
    if _VERSION not in plain:
        raise ValueError("it names no version")
    return plain


def _place(part: str, key: str | None) -> tuple[str, str, tuple[str, ...]]:
    if key is None:
        return "memory", "part", (part,)
    return "memory_entry", "part, key", (part, key)


def _text(value: object) -> str:
    return json.dumps(value, default=_as_fields)


def _as_fields(value: object) -> dict[str, object]:
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: getattr(value, one.name) for one in fields(value)}
    raise TypeError(f"{type(value).__name__} cannot be stored")
