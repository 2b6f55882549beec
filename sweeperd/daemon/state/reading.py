"""What the state database holds, read as a whole or for one sweep."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from sweeperd.config.values.types import NAME
from sweeperd.daemon.state.record import (
    HISTORY_LENGTH,
    Loaded,
    SweepRecord,
    parsed,
    record_from_json,
    require_all_fields,
)
from sweeperd.daemon.state.rows import Key, memory_of_rows

_LARGEST_VALUE: Final = 16 * 2**20  # characters of one row's text
_TEXT: Final = f"substr({{}}, 1, {_LARGEST_VALUE + 1})"
_NEWEST_RUNS: Final = (
    f"SELECT {_TEXT.format('report')} FROM run WHERE sweep = ? "
    f"ORDER BY started_at DESC, id DESC LIMIT {HISTORY_LENGTH}"
)


@dataclass
class StoredSweep:
    """The rows of one sweep.

    Attributes:
        revision: A number that rises with each write; None where the sweep's row is missing.
        record: The row's text.
        runs: Texts of the newest reports, oldest first.
        memory: The rows of its memory.
    """

    revision: object = None
    record: object = None
    runs: list[object] = field(default_factory=list)
    memory: dict[Key, object] = field(default_factory=dict)

    def decoded(self, name: str) -> SweepRecord:
        """Return the record.

        Raises:
            ValueError: A row is damaged.
        """
        if not isinstance(self.revision, int):
            raise ValueError(f"the record of {name} is missing")  # noqa: TRY004 - one error
        plain = parsed(_bounded(self.record), f"the record of {name}")
        if isinstance(plain, str):
            raise ValueError(plain)  # noqa: TRY004 - why an earlier state of it was damaged
        if not isinstance(plain, dict):
            raise ValueError(f"the record of {name} is not an object")  # noqa: TRY004 - one error
        runs = [parsed(_bounded(text), f"a report of {name}") for text in self.runs]
        rows = {key: _bounded(text) for key, text in self.memory.items()}
        try:
            memory = memory_of_rows(rows)
        except ValueError as error:
            raise ValueError(f"the memory of {name}: {error}") from None
        whole = {**plain, "memory": memory, "history": runs}
        require_all_fields(whole, name)
        return record_from_json(name, whole)


@dataclass
class StoredState:
    """All sweeps of a database.

    Attributes:
        loaded: Their records.
        revisions: By sweep name.
    """

    loaded: Loaded = field(default_factory=Loaded)
    revisions: dict[str, int] = field(default_factory=dict)


def read_all(connection: sqlite3.Connection) -> StoredState:
    """Return all records; those that are damaged by name.

    Raises:
        ValueError: It is not known which sweeps are damaged.
        sqlite3.Error: It cannot be read.
    """
    for table in ("sweep", "memory", "memory_entry"):
        (found,) = connection.execute(f"PRAGMA quick_check({table})").fetchone()
        if found != "ok":
            raise ValueError(f"it is damaged: {found}")
    state = StoredState()
    for name, stored in _stored(connection).items():
        try:
            state.loaded.records[name] = stored.decoded(name)
        except (ValueError, TypeError, RecursionError) as error:
            state.loaded.damaged[name] = str(error)
        if isinstance(stored.revision, int):
            state.revisions[name] = stored.revision
    return state


def read_one(connection: sqlite3.Connection, name: str) -> StoredSweep | None:
    """Return the rows of one sweep; None when it has none.

    Raises:
        sqlite3.Error: They cannot be read.
        ValueError: They are damaged.
    """
    return _stored(connection, name).get(name)


def read_revision(connection: sqlite3.Connection, name: str) -> int | None:
    """Return the revision of one sweep; None when it has no row."""
    row = connection.execute("SELECT revision FROM sweep WHERE name = ?", (name,)).fetchone()
    return None if row is None else int(row[0])


def _stored(connection: sqlite3.Connection, name: str | None = None) -> dict[str, StoredSweep]:
    found: dict[str, StoredSweep] = {}
    record, value = _TEXT.format("record"), _TEXT.format("value")
    sweeps = f"SELECT name, revision, {record} FROM sweep"
    for sweep, revision, text in _rows(connection, sweeps, "name", name):
        found[_name(sweep)] = StoredSweep(revision, text, _newest_runs(connection, sweep))
    for sweep, part, text in _rows(
        connection, f"SELECT sweep, part, {value} FROM memory", "sweep", name
    ):
        found.setdefault(_name(sweep), StoredSweep()).memory[str(part), None] = text
    for sweep, part, key, text in _rows(
        connection, f"SELECT sweep, part, key, {value} FROM memory_entry", "sweep", name
    ):
        found.setdefault(_name(sweep), StoredSweep()).memory[str(part), str(key)] = text
    return found


def _newest_runs(connection: sqlite3.Connection, name: object) -> list[object]:
    return [row[0] for row in connection.execute(_NEWEST_RUNS, (name,))][::-1]


def _rows(
    connection: sqlite3.Connection, query: str, column: str, name: str | None
) -> Iterator[tuple[object, ...]]:
    if name is None:
        yield from connection.execute(query)
    else:
        yield from connection.execute(f"{query} WHERE {column} = ?", (name,))


def _name(value: object) -> str:
    if not isinstance(value, str) or NAME.fullmatch(value) is None:
        raise ValueError("a row belongs to no sweep")
    return value


def _bounded(text: object) -> object:
    if isinstance(text, str | bytes) and len(text) > _LARGEST_VALUE:
        raise ValueError(f"a row is larger than {_LARGEST_VALUE} characters")
    return text
