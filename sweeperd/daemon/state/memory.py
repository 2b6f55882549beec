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

MEMORY_VERSION: Final = 3
_WITH_CURSORS: Final = 2
_HOURS: Final = 24

JsonObject = dict[str, object]


def memory_from_json(stored: Mapping[str, object]) -> SweepMemory:
    """Read a memory back; one of an earlier version is migrated.

    Raises:
        ValueError: It has another form than a run leaves, or a later version.
    """
    plain = dict(stored)
    if "version" not in plain:
        plain = _from_version_1(plain)
    elif (version := plain.pop("version")) == _WITH_CURSORS and type(version) is int:
        plain = _from_version_2(plain)
    elif version != MEMORY_VERSION:
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


def _from_version_2(stored: JsonObject) -> JsonObject:
    """Return the fields of today; cursors by lane did not tell which leaves were done.

    Raises:
        ValueError: They are damaged.
    """
    if "cursors" not in stored:
        raise ValueError("it has not all fields")
    return {**_new_pass(stored.pop("cursors"), "cursors"), **stored}


def _new_pass(cursors: object, name: str) -> JsonObject:
    """Return the fields of a pass that starts again, in place of an earlier version's cursors."""
    if not isinstance(cursors, dict):
        raise ValueError(f"{name}: it is not an object")  # noqa: TRY004 - one error means "damaged"
    return {"pass_header": None, "leaves": {}}


def _from_version_1(stored: JsonObject) -> JsonObject:
    """Return the fields of today from those without a version; their values are not checked.

    Raises:
        ValueError: They cannot be migrated.
    """
    if stored.keys() & {*asdict(SweepMemory()), "cursors"}:
        raise ValueError("it names no version")
    return {
        "facts": _facts(stored.get("guard")),
        "usual_load": _usual_load(stored.get("drained")),
        **_new_pass(stored.get("lanes", {}), "lanes"),
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
