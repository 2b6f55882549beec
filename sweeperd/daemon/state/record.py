"""What is kept of one sweep, and its form on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any

VERSION = 1


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
        memory: The runner's own notes (cursors, learned batch size, guard facts), JSON-able.
        held: Why nothing runs until it is released; None when it is not held.
        held_by: ``guard`` or ``operator`` while held.
        history: The newest runs' reports, oldest first, at most HISTORY_LENGTH.
        boot: Names the boot of the host in which the newest run started.
        started_elapsed: The elapsed clock at that start, in seconds; good within that boot.
    """

    last_start: datetime | None = None
    last_outcome: str | None = None
    left_over: bool = False
    memory: dict[str, Any] = field(default_factory=dict)
    held: str | None = None
    held_by: str | None = None
    history: tuple[dict[str, Any], ...] = ()
    boot: str | None = None
    started_elapsed: float | None = None


_TYPES: dict[str, tuple[type, ...]] = {
    "last_start": (str, type(None)),
    "last_outcome": (str, type(None)),
    "left_over": (bool,),
    "memory": (dict,),
    "held": (str, type(None)),
    "held_by": (str, type(None)),
    "history": (list,),
    "boot": (str, type(None)),
    "started_elapsed": (int, float, type(None)),
}


def encode(records: Mapping[str, SweepRecord]) -> bytes:
    """Return the file's bytes for these records; a snapshot, safe to hand to a thread."""
    sweeps = {name: _to_json(record) for name, record in records.items()}
    return json.dumps({"version": VERSION, "sweeps": sweeps}, indent=1).encode()


def _to_json(record: SweepRecord) -> dict[str, Any]:
    plain = asdict(record)
    plain["last_start"] = record.last_start.isoformat() if record.last_start else None
    return plain


def decode(content: bytes) -> dict[str, SweepRecord]:
    """Return the records of a file's bytes; ValueError when they are damaged."""
    document = json.loads(content)
    version = document.get("version") if isinstance(document, dict) else None
    if not isinstance(version, int) or version < 1:
        raise ValueError("it names no version")
    if version > VERSION:
        raise NewerVersionError(f"it has version {version}, this sweeperd knows {VERSION}")
    sweeps = document.get("sweeps")
    if not isinstance(sweeps, dict):
        raise ValueError("it holds no sweeps")  # noqa: TRY004 - one error type means "damaged"
    return {name: _from_json(name, plain) for name, plain in sweeps.items()}


def _from_json(name: str, plain: object) -> SweepRecord:
    if not isinstance(plain, dict):
        raise ValueError(f"the record of {name} is no object")  # noqa: TRY004 - as above
    values = {f.name: plain[f.name] for f in fields(SweepRecord) if f.name in plain}
    for key, value in values.items():
        if not isinstance(value, _TYPES[key]):
            raise ValueError(f"{key} of {name} is {value!r}")  # noqa: TRY004 - as above
    if values.get("last_start") is not None:
        values["last_start"] = datetime.fromisoformat(values["last_start"])
        if values["last_start"].tzinfo is None:
            raise ValueError(f"last_start of {name} has no time zone")
    values["history"] = tuple(values.get("history", ()))[-HISTORY_LENGTH:]
    return SweepRecord(**values)
