"""What is kept of one sweep."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Final

from sweeperd.daemon.state.memory import JsonObject, memory_from_json
from sweeperd.sweep.outcome.memory import SweepMemory

# what is kept beside the record itself, in rows of its own
_APART: Final = frozenset({"memory", "history"})
# of a thousand sweeps these are what is held in memory; `runs` has all
HISTORY_LENGTH: Final = 5


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
        history: The newest runs' reports with ``started_at``, oldest first, at most HISTORY_LENGTH.
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
# which each version has written; one that a later version adds may be missing
_ALWAYS: Final = {
    *("last_start", "last_outcome", "left_over", "memory", "history", "policy"),
    *("held", "held_by", "held_kinds", "boot", "started_elapsed"),
}


@dataclass(frozen=True)
class Loaded:
    """What a state directory held.

    Attributes:
        records: By sweep name; those that could be read.
        damaged: Why the record of a sweep could not be read, by name.
        unusable: Why nothing of it could be read; None when it could, or when there was none.
    """

    records: dict[str, SweepRecord] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)
    unusable: str | None = None


def record_to_json(record: SweepRecord) -> JsonObject:
    """Return a record as JSON-able fields, but for its memory and its runs."""
    plain = {
        one.name: getattr(record, one.name) for one in fields(record) if one.name not in _APART
    }
    plain["last_start"] = record.last_start.isoformat() if record.last_start else None
    return plain


def record_from_json(name: str, plain: object) -> SweepRecord:
    """Read a record back, its memory and its runs among the fields.

    Args:
        name: The sweep's.
        plain: What was stored; fields that an earlier version did not have may be missing.

    Raises:
        ValueError: It has another form than a run leaves.
    """
    if not isinstance(plain, dict):
        raise ValueError(f"the record of {name} is not an object")  # noqa: TRY004 - one error
    values: dict[str, Any] = {key: plain[key] for key in _TYPES if key in plain}
    for key, value in values.items():
        if not isinstance(value, _TYPES[key]):
            raise ValueError(f"{key} of {name} is {value!r:.200}")  # noqa: TRY004 - one error
    if values.get("last_start") is not None:
        values["last_start"] = datetime.fromisoformat(values["last_start"])
        if values["last_start"].tzinfo is None:
            raise ValueError(f"last_start of {name} has no time zone")
    runs = values.get("history", [])
    if not all(isinstance(run, dict) for run in runs):
        raise ValueError(f"the history of {name} holds what is not a report")
    values["history"] = tuple(runs)[-HISTORY_LENGTH:]
    memory = values.get("memory", {})
    try:
        values["memory"] = memory_from_json(memory)
    except ValueError as error:
        raise ValueError(f"the memory of {name}: {error}") from None
    kinds = values.get("held_kinds", memory.get("held_for", ()))  # a memory of version 1 kept them
    values["held_kinds"] = tuple(str(kind) for kind in kinds) if isinstance(kinds, list) else ()
    return SweepRecord(**values)


def parsed(text: object, what: str) -> object:
    """Return the value of a stored JSON text.

    Raises:
        ValueError: It is not one.
    """
    # everything is written in ASCII: another character is damage, and would pass for a value
    if not isinstance(text, str) or not text.isascii():
        raise ValueError(f"{what} is not JSON")
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError(f"{what} nests too deeply") from None
    except ValueError as error:
        raise ValueError(f"{what} is not JSON: {error}") from None


def require_all_fields(plain: Mapping[str, object], name: str) -> None:
    """Refuse a record in which a field is missing that a default would hide.

    Raises:
        ValueError: It is damaged.
    """
    if missing := _ALWAYS - plain.keys():
        raise ValueError(f"the record of {name} has no {min(missing)}")
