"""Which intervals have the same length in every time zone: those without days and months."""

from __future__ import annotations

import re
from typing import Final

from sweeperd.postgres.node_tree import Node
from sweeperd.sweep.survey.typed_tree import INTERVAL, TypedTree, arguments, constant_text

_TIME_BYTES: Final = 8  # an interval is 8 bytes of time, then 4 of days and 4 of months
_INTERVAL_BYTES: Final = 16
_CALENDAR_ARGUMENTS: Final = 4  # of make_interval: years, months, weeks, days
_ARITHMETIC: Final = frozenset(
    {"interval_mul", "mul_d_interval", "interval_div", "interval_pl", "interval_mi", "interval_um"}
)
_CHOICES: Final = frozenset(
    {"COALESCEEXPR", "COALESCE", "MINMAXEXPR", "MINMAX", "RELABELTYPE", "COERCETODOMAIN"}
)
_TEXT_JOINS: Final = frozenset({"textcat", "anytextcat", "textanycat", "concat"})
_BELOW_A_DAY: Final = re.compile(
    r"\s*(us|usecs?|microseconds?|ms|msecs?|milliseconds?|s|secs?|seconds?|m|mins?|minutes?"
    r"|h|hrs?|hours?)\s*",
    re.IGNORECASE | re.ASCII,
)
_NUMBERS: Final = frozenset({20, 21, 23, 700, 701, 1700})


def unproved(tree: TypedTree, node: Node) -> list[Node] | None:
    """Return the values that must be looked at, for the interval to have no days in it.

    An empty list proves it; None says that it has days, or that nobody can tell.
    """
    if node.tag == "CONST":
        return [] if not _days(node) else None
    if node.tag == "COERCEVIAIO":
        return [] if _number_of_seconds(tree, arguments(node)[0]) else [node]
    if node.tag == "VAR":
        return [node]
    made_of = _intervals_in(tree, node)
    return None if made_of is None else _all(tree, made_of)


def _intervals_in(tree: TypedTree, node: Node) -> list[Node] | None:
    """Return the intervals that one is made of: without days, if they all are."""
    if node.tag in _CHOICES:
        return arguments(node)
    if node.tag in {"CASEEXPR", "CASE"}:
        results = [one for when in node.nodes("args") for one in when.nodes("result")]
        return results + node.nodes("defresult")
    name = tree.built_in(node)
    if name == "make_interval":
        return [] if _without_days(node) else None
    if name in _ARITHMETIC or name == "interval":  # the cast takes an interval, or a time of day
        return [one for one in arguments(node) if tree.type_of(one) == INTERVAL]
    return None


def _all(tree: TypedTree, nodes: list[Node]) -> list[Node] | None:
    found = [unproved(tree, node) for node in nodes]
    if any(one is None for one in found):
        return None
    return [node for one in found if one for node in one]


def _days(constant: Node) -> bool:
    datum = constant.datum()
    return datum is not None and (len(datum) != _INTERVAL_BYTES or any(datum[_TIME_BYTES:]))


def _without_days(node: Node) -> bool:
    for place, argument in enumerate(node.nodes("args")):
        named = argument.tag == "NAMEDARGEXPR"
        number = argument.number("argnumber") if named else place
        value = argument.nodes("arg")[0] if named else argument
        zero = value.tag == "CONST" and not any(value.datum() or b"")
        if number < _CALENDAR_ARGUMENTS and not zero:
            return False
    return True


def _number_of_seconds(tree: TypedTree, text: Node) -> bool:
    """Whether a text is a number and a unit below the day: ``ttl || ' seconds'``."""
    constant = constant_text(text)
    if constant is not None:
        number = re.fullmatch(r"\s*[+-]?\d+(?:\.\d+)?(.*)", constant, re.DOTALL | re.ASCII)
        return number is not None and _BELOW_A_DAY.fullmatch(number[1]) is not None
    parts = arguments(text)
    if tree.built_in(text) not in _TEXT_JOINS or len(parts) != 2:  # noqa: PLR2004 - number, unit
        return False
    value = parts[0]
    while value.tag in {"COERCEVIAIO", "RELABELTYPE"}:
        value = arguments(value)[0]
    unit = constant_text(parts[1])
    return (
        tree.type_of(value) in _NUMBERS
        and unit is not None
        and _BELOW_A_DAY.fullmatch(unit) is not None
    )
