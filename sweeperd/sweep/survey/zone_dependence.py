"""Whether an expression's value may be another under another TimeZone.

The server's functions say of themselves whether they are immutable; of those that are not, the
ones that touch a type with a time zone read TimeZone. Exceptions are named here one by one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from sweeperd.postgres.node_tree import Node
from sweeperd.sweep.survey.fixed_intervals import unproved
from sweeperd.sweep.survey.parsed_expression import Function, ParsedExpression
from sweeperd.sweep.survey.typed_tree import (
    DATE,
    INTERVAL,
    TEXT,
    TIMESTAMP,
    TIMESTAMPTZ,
    TIMETZ,
    TypedTree,
    arguments,
    constant_text,
    constants,
    outermost,
)

_ZONED: Final = frozenset({TIMESTAMPTZ, TIMETZ})
_TIMES: Final = _ZONED | {TIMESTAMP, DATE}
# SQLValueFunctionOp in primnodes.h; CURRENT_TIMESTAMP (3, 4) is the same instant everywhere
_LOCAL_VALUES: Final = {
    0: "CURRENT_DATE",
    1: "CURRENT_TIME",
    2: "CURRENT_TIME",
    5: "LOCALTIME",
    6: "LOCALTIME",
    7: "LOCALTIMESTAMP",
    8: "LOCALTIMESTAMP",
}
# with that many arguments, the last names the zone
_ZONE_GIVEN: Final = {
    ("timezone", 2),
    ("date_trunc", 3),
    ("make_timestamptz", 7),
    ("date_add", 3),
    ("date_subtract", 3),
    ("generate_series", 4),
}
# of these the instant is shifted by an interval: the same in all zones if that has no days
_SHIFTS: Final = frozenset(
    {
        "timestamptz_pl_interval",
        "timestamptz_mi_interval",
        "interval_pl_timestamptz",
        "date_add",
        "date_subtract",
        "generate_series",
    }
)
_FIELDS: Final = frozenset({"date_part", "extract", "date_trunc"})
# offsets are whole seconds, so these fields are the same in all zones
_ZONELESS_FIELDS: Final = frozenset(
    {"epoch", "millisecond", "milliseconds", "microsecond", "microseconds"}
)
# immutable to the catalogue, and yet they count in local days
_MISDECLARED: Final = frozenset({"age"})
_CLOCK_TEXT: Final = frozenset({"timeofday"})
# they look at how a value is stored, not at what it says
_STORAGE: Final = frozenset({"pg_column_size", "pg_typeof", "pg_column_compression"})
_MAKES_TEXT: Final = frozenset({"XMLEXPR", "JSONCONSTRUCTOREXPR", "JSONEXPR", "JSONVALUEEXPR"})
_ZONED_TEXT: Final = re.compile(
    r"(?:\d:\d\d(?::\d\d(?:[.,]\d+)?)?|T\d{4,6}(?:\.\d+)?)\s*"
    r"(?:Z|UTC|GMT|[+-]\d{1,2}(?::?\d\d){0,2})\s*$",
    re.IGNORECASE | re.ASCII,
)
_PROVED_TEXT: Final = re.compile(r"\s*(?:[+-]?infinity|epoch|now)\s*", re.IGNORECASE | re.ASCII)


@dataclass
class Dependence:
    """What is known of an expression without looking at rows.

    Attributes:
        reasons: What makes it depend on the time zone, in words.
        texts: Texts that are read as timestamptz: each value must name its zone.
        intervals: Intervals that are added to a timestamptz: no value may have days.
        hidden: It calls functions whose inside nobody can see here.
    """

    reasons: list[str] = field(default_factory=list)
    texts: list[Node] = field(default_factory=list)
    intervals: list[Node] = field(default_factory=list)
    hidden: bool = False


def dependence(parsed: ParsedExpression) -> Dependence:
    """Return what makes an expression depend on the time zone."""
    return _Search(parsed).found


def differing_constants(parsed: ParsedExpression, other: Node) -> list[str]:
    """Name the constants that the same text means under another TimeZone.

    Args:
        parsed: The expression under one TimeZone.
        other: The tree of the same text under another one.
    """
    tree = TypedTree(parsed)
    both = zip(constants(parsed.trees[:1]), constants((other,)), strict=False)
    differing = {tree.shown(a.number("consttype")) for a, b in both if a.datum() != b.datum()}
    return [f"a constant of type {name} that names no zone" for name in sorted(differing)]


def has_time_constants(parsed: ParsedExpression) -> bool:
    """Whether a constant may depend on the TimeZone in which the text was parsed."""
    tree = TypedTree(parsed)
    return any(tree.parts(one.number("consttype")) & _TIMES for one in constants(parsed.trees[:1]))


class _Search:
    """One walk over the nodes of an expression."""

    def __init__(self, parsed: ParsedExpression) -> None:
        self.tree = TypedTree(parsed)
        self.found = Dependence()
        self.outermost = outermost(parsed.trees[0])
        for node in (one for tree in parsed.trees for one in tree.walk()):
            self._look(node)
        self.found.reasons = list(dict.fromkeys(self.found.reasons))

    def _look(self, node: Node) -> None:
        if node.tag == "SQLVALUEFUNCTION":
            name = _LOCAL_VALUES.get(node.number("op"))
            if name:
                self.found.reasons.append(name)
        elif node.tag == "COERCEVIAIO":
            self._cast(node)
        elif node.tag in _MAKES_TEXT:
            if any(self._zoned(one) for one in node.walk()):
                self.found.reasons.append("timestamp with time zone in XML or JSON")
        elif node.tag in {"TABLEFUNC", "RANGETBLFUNCTION"}:
            types = node.numbers("coltypes") + node.numbers("funccoltypes")
            if any(self.tree.parts(oid) & _ZONED for oid in types):
                self.found.reasons.append("text -> timestamp with time zone in a column list")
        for function in self.tree.called(node):
            self._call(node, function)

    def _zoned(self, node: Node) -> bool:
        return bool(self.tree.parts(self.tree.type_of(node)) & _ZONED)

    def _cast(self, node: Node) -> None:
        argument = arguments(node)[0]
        source, result = self.tree.type_of(argument), node.number("resulttype")
        if self.tree.parts(source) & _ZONED:
            self.found.reasons.append(f"{self.tree.shown(source)} -> {self.tree.shown(result)}")
        elif self.tree.parts(result) & _ZONED:
            self._text(argument, result)

    def _text(self, argument: Node, result: int) -> None:
        constant = constant_text(argument)
        if constant is not None and (
            _ZONED_TEXT.search(constant) or _PROVED_TEXT.fullmatch(constant)
        ):
            return
        if constant is None and result in _ZONED and id(argument) in self.outermost:
            self.found.texts.append(argument)
        else:
            self.found.reasons.append(f"text -> {self.tree.shown(result)}")

    def _call(self, node: Node, function: Function) -> None:
        given = [self.tree.type_of(one) for one in arguments(node)]
        types = {*given, *function.arguments, function.result}
        touched = frozenset().union(*(self.tree.parts(oid) for oid in types))
        if function.schema != "pg_catalog":
            self._foreign(function, touched)
        elif function.name in _CLOCK_TEXT:
            self.found.reasons.append(f"{function.name}()")
        elif function.name == "current_setting":
            setting = constant_text(arguments(node)[0])
            if setting is None or setting.lower() == "timezone":
                self.found.reasons.append("current_setting('TimeZone')")
        elif function.name.endswith("_tz") and function.name.startswith("jsonb_path"):
            self.found.reasons.append(f"{function.name}()")
        elif touched & _ZONED and self._reads_zone(node, function):
            self.found.reasons.append(self._words(node, function))

    def _foreign(self, function: Function, touched: frozenset[int]) -> None:
        """Judge a function of somebody's own: what it does inside is not to be seen."""
        if function.own_time_zone:
            return
        if function.volatility != "i" and touched & _TIMES:
            self.found.reasons.append(
                f"function {function.schema}.{function.name}(), which is not IMMUTABLE and "
                "takes or returns a time"
            )
        self.found.hidden = True

    def _reads_zone(self, node: Node, function: Function) -> bool:
        given = arguments(node)
        misdeclared = function.name in _MISDECLARED
        if (function.volatility == "i" and not misdeclared) or not given:
            return False
        if (function.name, len(given)) in _ZONE_GIVEN or function.name in _STORAGE:
            return False
        if function.name in _FIELDS:
            name = (constant_text(given[0]) or "").lower()
            return name.rstrip() not in _ZONELESS_FIELDS
        if function.name in _SHIFTS:
            intervals = [one for one in given if self.tree.type_of(one) == INTERVAL]
            asked = [unproved(self.tree, one) for one in intervals]
            values = [value for one in asked if one for value in one]
            self.found.intervals += values
            seen = all(id(value) in self.outermost for value in values)
            return not seen or any(one is None for one in asked)
        # nothing that could be read in a zone enters: pg_xact_commit_timestamp(xid)
        enters = frozenset().union(*(self.tree.parts(self.tree.type_of(one)) for one in given))
        reads = bool(enters & (_TIMES | {TEXT})) or function.name == "make_timestamptz"
        return reads or not enters - {0}

    def _words(self, node: Node, function: Function) -> str:
        operator = self.tree.parsed.operators.get(node.number("opno"))
        if operator is not None:
            given = [self.tree.shown(self.tree.type_of(one)) for one in arguments(node)]
            if function.name in _SHIFTS:
                given = [f"{one} with days" if one == "interval" else one for one in given]
            return f" {operator.name} ".join(given) if len(given) > 1 else operator.shown
        types = [self.tree.shown(self.tree.type_of(one)) for one in arguments(node)]
        if node.word("funcformat") in {"1", "2"} and types:  # written as a cast, or not at all
            return f"{types[0]} -> {self.tree.shown(function.result)}"
        return f"{function.name}({', '.join(types)})"
