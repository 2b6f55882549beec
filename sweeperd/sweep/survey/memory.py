"""Whether what an earlier run left for this one has the form that the engine writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sweeperd.sweep.survey.facts import Facts
from sweeperd.sweep.survey.usual_load import UsualLoad

_POSITION_LENGTHS = (2, 3)


def memory_problem(memory: Mapping[str, object]) -> str | None:
    """Return what is wrong with a memory, or None; its keys are those that a run may leave."""
    try:
        Facts.from_json(memory.get("guard"))
    except ValueError as error:
        return f"guard: {error}"
    try:
        UsualLoad.from_json(memory.get("drained"))
    except ValueError as error:
        return f"drained: {error}"
    checks: dict[str, Callable[[object], bool]] = {
        "lanes": lambda value: _is_object(value, _is_cursor),
        "sizes": lambda value: _is_object(value, _is_count),
        "gone": lambda value: _is_object(value, _is_count),
    }
    for key, check in checks.items():
        if key in memory and not check(memory[key]):
            return f"{key} has another form than a run leaves"
    return None


def _is_object(value: object, check: Callable[[object], bool]) -> bool:
    return isinstance(value, dict) and all(check(item) for item in value.values())


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_cursor(value: object) -> bool:
    """A value of the column, a position in a heap, or a heap's name with what it rests on."""
    if value is None or isinstance(value, str) or _is_number(value):
        return True
    if not isinstance(value, list) or not value:
        return False
    if isinstance(value[0], str):
        position, *digest = value[1:] or [None]
        known = position is None or _is_position(position)
        return known and all(isinstance(part, str) for part in digest)
    return _is_position(value)


def _is_position(value: object) -> bool:
    """Block, offset, and the first block of the lane unless that is 0."""
    return (
        isinstance(value, list) and len(value) in _POSITION_LENGTHS and all(map(_is_count, value))
    )
