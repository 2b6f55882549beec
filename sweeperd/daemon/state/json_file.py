"""The one JSON file in which an earlier version kept its state; it is read, never written."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sweeperd.daemon.state.memory import JsonObject
from sweeperd.daemon.state.record import Loaded, NewerVersionError, SweepRecord, record_from_json
from sweeperd.host.permissions import read_file

STATE_FILE: Final = "state.json"
IMPORTED: Final = "state.json.imported"
_WITH_MEMORY: Final = 2  # in which each record has a memory with a version of its own
_LARGEST: Final = 256 * 2**20


@dataclass(frozen=True)
class JsonState:
    """What the file held.

    Attributes:
        loaded: The records.
        runs: The newest runs' reports by sweep name, oldest first.
    """

    loaded: Loaded = field(default_factory=Loaded)
    runs: dict[str, tuple[JsonObject, ...]] = field(default_factory=dict)


def read_json_state(directory: Path) -> JsonState:
    """Return what the file of a state directory holds.

    Raises:
        FileNotFoundError: There is none.
        OSError: It cannot be read.
        NewerVersionError: A later sweeperd wrote it.
        ValueError: None of it can be read.
    """
    content = read_file(directory / STATE_FILE, _LARGEST)
    if len(content) > _LARGEST:
        raise ValueError(f"it is larger than {_LARGEST} bytes")
    return _decoded(content)


def _decoded(content: bytes) -> JsonState:
    try:
        document = json.loads(content)
    except RecursionError:
        raise ValueError("it nests too deeply") from None
    version, sweeps = _sweeps(document)
    state = JsonState()
    for name, plain in sweeps.items():
        try:
            record, runs = _record(name, plain, version)
        except (ValueError, TypeError, RecursionError) as error:
            state.loaded.damaged[name] = str(error)
        else:
            state.loaded.records[name] = record
            state.runs[name] = runs
    return state


def _sweeps(document: object) -> tuple[int, JsonObject]:
    if not isinstance(document, dict):
        raise ValueError("it is not an object")  # noqa: TRY004 - one error type means "damaged"
    version = document.get("version")
    if not isinstance(version, int) or version < 1:
        raise ValueError("it names no version")
    if version > _WITH_MEMORY:
        raise NewerVersionError(f"it has version {version}, this sweeperd knows {_WITH_MEMORY}")
    sweeps = document.get("sweeps")
    if not isinstance(sweeps, dict):
        raise ValueError("it holds no sweeps")  # noqa: TRY004 - one error type means "damaged"
    return version, sweeps


def _record(name: str, plain: object, version: int) -> tuple[SweepRecord, tuple[JsonObject, ...]]:
    record = record_from_json(name, plain)
    stored = plain if isinstance(plain, dict) else {}
    if version >= _WITH_MEMORY and "version" not in stored.get("memory", {}):
        raise ValueError(f"the record of {name} has no memory")
    return record, tuple(stored.get("history", ()))
