"""Writes a part of a parsed expression as SQL again, where that is certain, to look at values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from sweeperd.postgres.node_tree import Node
from sweeperd.postgres.sql.expired import CONCATENATED, Args, quote
from sweeperd.postgres.sql.rows import thinned
from sweeperd.postgres.sql.target import Statement, Table

# A time of day and behind it a zone: "Z", a name of UTC, an offset; or no time at all.
_ZONED: Final = (
    "([0-9]:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?|T[0-9]{4,6}([.][0-9]+)?)\\s*"
    "(Z|UTC|GMT|[+-][0-9]{1,2}(:?[0-9]{2}){0,2})\\s*$"
)
_TIME: Final = "[0-9]|today|tomorrow|yesterday"
# by OID
_SIMPLE_TYPES: Final = {
    25: "text",
    23: "int4",
    20: "int8",
    1043: "varchar",
    3802: "jsonb",
}
# what the catalogue says of a function's or operator's OID: its bare name, if it may be written
Name = Callable[[Node], str | None]


@dataclass(frozen=True)
class Writer:
    """Writes operands of the outermost query.

    Attributes:
        table: The swept table.
        columns: Its columns by number.
        name: Gives ``pg_catalog.f`` or ``OPERATOR(pg_catalog.+)`` of an immutable call; None
            when it cannot be written.
        args: Takes the constants.
    """

    table: Table
    columns: Mapping[int, str]
    name: Name
    args: Args

    def write(self, node: Node) -> str:
        """Return the SQL of an operand.

        Raises:
            ValueError: It cannot be written with certainty.
        """
        if node.tag == "VAR":
            return self._column(node)
        if node.tag == "CONST":
            return _constant(node, self.args)
        if node.tag in {"RELABELTYPE", "COERCEVIAIO"}:
            return self._cast(node)
        if node.tag in {"ARRAYEXPR", "ARRAY"}:
            return self._array(node)
        parts = [self.write(part) for part in node.nodes("args")]
        if node.tag in {"COALESCEEXPR", "COALESCE"}:
            return f"coalesce({', '.join(parts)})"
        return self._call(node, parts)

    def _column(self, node: Node) -> str:
        number = node.number("varattno")
        own = node.number("varlevelsup") == 0 and node.number("varno") == 1
        if not own or number not in self.columns:
            raise ValueError("not a column of the swept table")
        return f"{self.table.reference}.{quote(self.columns[number])}"

    def _array(self, node: Node) -> str:
        if node.number("array_typeid") != 1009 or node.word("multidims") != "false":  # noqa: PLR2004 - text[]
            raise ValueError("an array of this type cannot be written again")
        parts = [self.write(part) for part in node.nodes("elements")]
        return f"ARRAY[{', '.join(parts)}]::pg_catalog.text[]"

    def _cast(self, node: Node) -> str:
        kind = _SIMPLE_TYPES.get(node.number("resulttype"))
        if kind is None:
            raise ValueError("a cast to this type cannot be written again")
        return f"({self.write(node.nodes('arg')[0])})::pg_catalog.{kind}"

    def _call(self, node: Node, parts: list[str]) -> str:
        called = self.name(node)
        if called is None or node.word("funcvariadic") == "true":
            raise ValueError("this call cannot be written again")
        if node.tag == "FUNCEXPR":
            return f"{called}({', '.join(parts)})"
        applied = f"({' '.join([*parts[:-1], called, parts[-1]])})"
        if node.tag == "OPEXPR":
            return applied
        if node.tag == "NULLIFEXPR":
            return f"(CASE WHEN {applied} THEN NULL ELSE {parts[0]} END)"
        raise ValueError("this part of the expression cannot be written again")


def _constant(node: Node, args: Args) -> str:
    kind, datum = node.number("consttype"), node.datum()
    if datum is not None and kind == 25:  # noqa: PLR2004 - text
        return args.add(datum[4:].decode(), "pg_catalog.text")
    if datum is not None and kind in {20, 23}:
        number = int.from_bytes(datum[: node.number("constlen")], "little", signed=True)
        return args.add(number, f"pg_catalog.{_SIMPLE_TYPES[kind]}")
    if datum is not None and kind == 1009:  # noqa: PLR2004 - text[]
        return args.add(_texts(datum), "pg_catalog.text[]")
    raise ValueError("a constant of this type cannot be written again")


def _texts(datum: bytes) -> list[str]:
    """Return the elements of an array of texts (array.h): of one dimension, without NULL."""

    def number(at: int) -> int:
        return int.from_bytes(datum[at : at + 4], "little")

    if (number(4), number(8), number(12)) != (1, 0, 25):  # dimensions, NULLs, type of elements
        raise ValueError("this array cannot be written again")
    found, at = [], 24
    for _ in range(number(16)):
        size = number(at) >> 2
        found.append(datum[at + 4 : at + size].decode())
        at += (size + 3) // 4 * 4
    return found


def text_without_zone(
    table: Table, operand: str, args: Args, *, percent: float, limit: int
) -> Statement:
    """Return whether a sampled text is a time that names no zone."""
    value = 'sampled.value COLLATE "C"'
    return _sampled(
        table,
        operand,
        f"{value} OPERATOR(pg_catalog.~*) {args.add(_TIME, 'pg_catalog.text')} AND NOT "
        f"{value} OPERATOR(pg_catalog.~*) {args.add(_ZONED, 'pg_catalog.text')}",
        args,
        (percent, limit),
    )


def interval_with_days(
    table: Table, operand: str, args: Args, *, percent: float, limit: int
) -> Statement:
    """Return whether a sampled interval has days, months or years."""
    odd = " OR ".join(
        f"pg_catalog.date_part({args.add(part, 'pg_catalog.text')}, "
        "sampled.value::pg_catalog.interval) OPERATOR(pg_catalog.<>) 0"
        for part in ("day", "month", "year")
    )
    return _sampled(table, operand, odd, args, (percent, limit))


def _sampled(
    table: Table, operand: str, odd: str, args: Args, bounds: tuple[float, int]
) -> Statement:
    percent, limit = bounds
    source = thinned(table, percent, args)
    return Statement(
        f"SELECT EXISTS (SELECT FROM (SELECT {operand} AS value FROM {source} "
        f"LIMIT {args.add(limit, 'bigint')}) AS sampled WHERE {odd})",
        tuple(args),
    )


def verdicts(table: Table, condition: str, args: Args, *, percent: float, limit: int) -> Statement:
    """Return each sampled row's identity and whether the condition holds for it."""
    row = table.reference
    identity = f" {CONCATENATED} ".join(
        f"{row}.{name}::pg_catalog.text" for name in ("tableoid", "ctid", "xmin")
    )
    return Statement(
        f"SELECT {identity} AS row, "
        f"({condition}) IS TRUE AS holds FROM {thinned(table, percent, args, seed=0)} "
        f"LIMIT {args.add(limit, 'bigint')}",
        tuple(args),
    )
