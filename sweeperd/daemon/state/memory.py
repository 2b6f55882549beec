"""A sweep's memory as JSON, and what an earlier version wrote.

Each part must have exactly the form that a run leaves: what cannot be read is damaged state, and
that holds the sweep. Nothing missing or broken switches a guard off.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from statistics import median
from typing import Final

from pydantic import TypeAdapter, ValidationError

from sweeperd.sweep.outcome.memory import SweepMemory
from sweeperd.sweep.outcome.usual_load import DAY, Day, UsualLoad

MEMORY_VERSION: Final = 2
_HOURS: Final = 24

JsonObject = dict[str, object]


def memory_to_json(memory: SweepMemory) -> JsonObject:
    """Return a memory as JSON-able fields with their version."""
    return {"version": MEMORY_VERSION, **asdict(memory)}


def memory_from_json(stored: Mapping[str, object]) -> SweepMemory:
    """Read a memory back; one of an earlier version is migrated.

    Raises:
        ValueError: It has another form than a run leaves, or a later version.
    """
    plain = dict(stored)
    if "version" not in plain:
        plain = _from_version_1(plain)
    elif (version := plain.pop("version")) != MEMORY_VERSION:
        raise ValueError(f"it has version {version!r}, this sweeperd knows {MEMORY_VERSION}")
    try:
        memory = _adapter().validate_json(json.dumps(plain))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{place}: {first['msg']}") from None
    # a field that is missing has its default by now, which may mean that a guard has no history
    if json.loads(json.dumps(asdict(memory))) != plain:
        raise ValueError("it has not all fields")
    return memory


@cache
def _adapter() -> TypeAdapter[SweepMemory]:
    return TypeAdapter(SweepMemory)


def _from_version_1(stored: JsonObject) -> JsonObject:
    """Return the fields of today from those without a version; their values are not checked.

    Raises:
        ValueError: They cannot be migrated.
    """
    if stored.keys() & asdict(SweepMemory()).keys():
        raise ValueError("it names no version")
    return {
        "facts": _facts(stored.get("guard")),
        "usual_load": _usual_load(stored.get("drained")),
        "cursors": _cursors(stored.get("lanes", {})),
        "batch_sizes": stored.get("sizes", {}),
        "deleted_since_vacuum": stored.get("gone", {}),
    }


def _facts(guard: object) -> object:
    """Return the guards' facts; an early batch may have left its transaction's id alone."""
    if not isinstance(guard, dict):
        return guard
    if guard.keys() <= {"committed_xid"}:
        return None
    return {"next_xid": None, "committed_xid": None, **guard}


def _usual_load(stored: object) -> object:
    """Return the load; a former form had the shares per hour of the last runs."""
    if not isinstance(stored, dict) or "rates" not in stored:
        return stored
    drained_at, rates = stored.get("drained_at"), stored["rates"]
    if not isinstance(rates, list) or type(drained_at) is not int:
        raise ValueError("drained: rates are not a list, or drained_at is not a number")
    if not all(type(rate) in {int, float} for rate in rates):
        raise ValueError("drained: a rate is not a number")
    usual = median(rates) if rates else 0.0
    day = asdict(Day(drained_at // DAY, total_share=usual * _HOURS))
    return {**asdict(UsualLoad(drained_at, runs=len(rates))), "days": [day]}


def _cursors(lanes: object) -> object:
    if not isinstance(lanes, dict):
        raise ValueError("lanes: it is not an object")  # noqa: TRY004 - one error means "damaged"
    cursors = {name: _cursor(name, saved) for name, saved in lanes.items()}
    return {name: cursor for name, cursor in cursors.items() if cursor is not None}


def _cursor(name: str, saved: object) -> object:
    """Return a cursor of today; None for one that always meant the start."""
    if not isinstance(saved, list):
        return saved
    if not saved or not isinstance(saved[0], str):
        return _position(name, saved)
    heap, position, *digest = saved if len(saved) > 1 else [saved[0], None]
    where = _position(name, position) if position is not None else None
    if not digest:
        return None
    return {"heap": heap, "position": where, "digest": digest[0] if len(digest) == 1 else digest}


def _position(name: str, saved: object) -> object:
    if not isinstance(saved, list) or len(saved) not in {2, 3}:
        raise ValueError(f"lanes.{name}: {saved!r} is not a position in a heap")
    block, offset, *first = saved
    return {"block": block, "offset": offset, "first_block": first[0] if first else 0}
