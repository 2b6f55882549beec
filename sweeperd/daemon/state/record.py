"""What is kept of one sweep, and its form on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from sweeperd.daemon.state.memory import JsonObject, memory_from_json, memory_to_json
from sweeperd.sweep.outcome.memory import SweepMemory

# 2: a record's memory has a version of its own, which an earlier sweeperd would take for no memory
VERSION = 2
HISTORY_LENGTH = 20


class NewerVersionError(ValueError):
    """The state was written by a later sweeperd."""


@dataclass(frozen=True)
class SweepRecord:
    """What is known of one sweep's past.

    Attributes:
        last_start: Wall time of the newest start, UTC; None when it never ran.
        last_outcome: How that run ended; None while it runs, and after a crash in it.
        left_over: Whether that run left expired rows behind.
        memory: What its runs have learned.
        held: Why it was held, in a state that an earlier version wrote; holds are files now.
        held_by: ``guard`` or ``operator``, likewise.
        held_kinds: What a guard held it for, likewise.
        history: The newest runs' reports, oldest first, at most HISTORY_LENGTH.
        boot: Names the boot of the host in which the newest run started.
        started_elapsed: The elapsed clock at that start, in seconds; good within that boot.
        policy: What the newest run swept, by which a renamed sweep is known.
    """

    last_start: datetime | None = None
    last_outcome: str | None = None
    left_over: bool = False
    memory: SweepMemory = field(default_factory=SweepMemory)
    held: str | None = None
    held_by: str | None = None
    held_kinds: tuple[str, ...] = ()
    history: tuple[JsonObject, ...] = ()
    boot: str | None = None
    started_elapsed: float | None = None
    policy: str | None = None


_TYPES: dict[str, tuple[type, ...]] = {
    "last_start": (str, type(None)),
    "last_outcome": (str, type(None)),
    "left_over": (bool,),
    "memory": (dict,),
    "held": (str, type(None)),
    "held_by": (str, type(None)),
    "held_kinds": (list,),
    "history": (list,),
    "boot": (str, type(None)),
    "started_elapsed": (int, float, type(None)),
    "policy": (str, type(None)),
}


def encode(records: Mapping[str, SweepRecord]) -> bytes:
    """Return the file's bytes for these records; a snapshot, safe to hand to a thread."""
    sweeps = {name: _to_json(record) for name, record in records.items()}
    return json.dumps({"version": VERSION, "sweeps": sweeps}, indent=1).encode()


def _to_json(record: SweepRecord) -> JsonObject:
    plain = {field.name: getattr(record, field.name) for field in fields(record)}
    plain["memory"] = memory_to_json(record.memory)
    plain["last_start"] = record.last_start.isoformat() if record.last_start else None
    return plain


@dataclass(frozen=True)
class Loaded:
    """What a state file held.

    Attributes:
        records: By sweep name; those that could be read.
        damaged: Why the record of a sweep could not be read, by name.
        unusable: Why nothing of it could be read; None when it could, or when there was none.
    """

    records: dict[str, SweepRecord] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)
    unusable: str | None = None


def decode(content: bytes) -> Loaded:
    """Return the records of a file's bytes.

    Raises:
        ValueError: None of them can be read.
    """
    try:
        document = json.loads(content)
    except RecursionError:
        raise ValueError("it nests too deeply") from None
    records: dict[str, SweepRecord] = {}
    damaged: dict[str, str] = {}
    version, sweeps = _sweeps(document)
    for name, plain in sweeps.items():
        try:
            records[name] = _from_json(name, plain, version)
        except (ValueError, TypeError, RecursionError) as error:
            damaged[name] = str(error)
    return Loaded(records, damaged)


def _sweeps(document: object) -> tuple[int, JsonObject]:
    if not isinstance(document, dict):
        raise ValueError("it is not an object")  # noqa: TRY004 - one error type means "damaged"
    version = document.get("version")
    if not isinstance(version, int) or version < 1:
        raise ValueError("it names no version")
    if version > VERSION:
        raise NewerVersionError(f"it has version {version}, this sweeperd knows {VERSION}")
    sweeps = document.get("sweeps")
    if not isinstance(sweeps, dict):
        raise ValueError("it holds no sweeps")  # noqa: TRY004 - one error type means "damaged"
    return version, sweeps


def _from_json(name: str, plain: object, version: int) -> SweepRecord:
    if not isinstance(plain, dict):
        raise ValueError(f"the record of {name} is not an object")  # noqa: TRY004 - as above
    values: dict[str, Any] = {f.name: plain[f.name] for f in fields(SweepRecord) if f.name in plain}
    for key, value in values.items():
        if not isinstance(value, _TYPES[key]):
            raise ValueError(f"{key} of {name} is {value!r}")  # noqa: TRY004 - as above
    if values.get("last_start") is not None:
        values["last_start"] = datetime.fromisoformat(values["last_start"])
        if values["last_start"].tzinfo is None:
            raise ValueError(f"last_start of {name} has no time zone")
    if not all(isinstance(entry, dict) for entry in values.get("history", ())):
        raise ValueError(f"the history of {name} holds what is not a report")
    memory = values.get("memory", {})
    if version >= VERSION and "version" not in memory:
        raise ValueError(f"the record of {name} has no memory")
    try:
        values["memory"] = memory_from_json(memory)
    except ValueError as error:
        raise ValueError(f"the memory of {name}: {error}") from None
    kinds = values.get("held_kinds", memory.get("held_for", ()))  # a memory of version 1 kept them
    values["held_kinds"] = tuple(str(kind) for kind in kinds) if isinstance(kinds, list) else ()
    values["history"] = tuple(values.get("history", ()))[-HISTORY_LENGTH:]
    return SweepRecord(**values)
