"""Bounds that cut a column's expired values into slices, read ahead from its index.

What varies from one reading to the next goes through settings of its transaction, so that the
text of the query stays one: a COPY runs it, and pg_stat_statements keeps an entry for each COPY.
"""

from __future__ import annotations

from typing import Final

from sweeperd.postgres.sql.expired import EQUAL, GREATER, LESS, Args, Key, builtin, quote
from sweeperd.postgres.sql.literals import Literals, text_of
from sweeperd.postgres.sql.slices import KeyRange
from sweeperd.postgres.sql.target import Statement, Target

_LOW: Final = "sweeperd.low"
_STEP: Final = "sweeperd.step"
_COUNT: Final = "sweeperd.bounds"
# Without statistics the planner would rather sort all rows; and what it thinks of a recursion's
# cost would have each step compiled.
_WALK_INDEX: Final = {"enable_sort": "off", "enable_bitmapscan": "off", "jit": "off"}


def settings(target: Target, low: Key | None, *, step: int, count: int) -> dict[str, str]:
    """Return what `bounds` reads by, and how it is planned.

    Args:
        target: What is swept.
        low: Where the first slice begins; None for the first value.
        step: Rows of a slice.
        count: Slices.

    Raises:
        ValueError: The column's type has no such value.
    """
    kind = target.column.type_name
    return {
        **_WALK_INDEX,
        _LOW: "" if low is None else text_of(low, kind),
        _STEP: str(step),
        _COUNT: str(count),
    }


def bounds(target: Target, *, from_start: bool) -> str:
    """Return a query for the bounds of the next slices, in order: ``bound`` and ``beyond``.

    A slice ends with ``bound``, and ``beyond`` is the value after it; the last slice has none.
    Where the slice would cut through the rows of one value, it ends before that value; where it
    has no other, ``bound`` is null and ``beyond`` that value. A number of any size is told as
    text. Only what the index holds is asked for, so that an index-only scan serves.

    Args:
        target: What is swept.
        from_start: Whether the first slice has no lower limit.
    """
    kind = builtin(target.column.type_name)
    low = None if from_start else f"pg_catalog.current_setting('{_LOW}')::{kind}"
    name = _unlike(target, "slices")
    as_told = "::pg_catalog.text" if target.column.type_name == "numeric" else ""
    return (
        f"WITH RECURSIVE {name}(number, bound, beyond) AS ("
        f"SELECT 1, first.bound, first.beyond FROM ({_slice(target, low)}) AS first "
        f"UNION ALL SELECT {name}.number OPERATOR(pg_catalog.+) 1, next.bound, next.beyond "
        f"FROM {name} CROSS JOIN LATERAL ({_slice(target, f'{name}.bound')}) AS next "
        f"WHERE {name}.number {LESS} pg_catalog.current_setting('{_COUNT}')::pg_catalog.int4 "
        f"AND {name}.bound IS NOT NULL AND {name}.beyond IS NOT NULL) "
        f"SELECT bound{as_told}, beyond{as_told} FROM {name} ORDER BY number"
    )


def _slice(target: Target, low: str | None) -> str:
    """Return a query for the end of one slice above ``low`` and the value beyond it."""
    table, two = target.table, _unlike(target, "two")
    column, value = target.qualified_column, target.base_value
    expired = target.column.range(Literals(), table.reference)
    above = f"{column} {GREATER} {low} AND {expired}" if low else expired
    pair = (
        f"SELECT {value} AS v FROM {table.source} WHERE {above} ORDER BY {column} "
        f"OFFSET pg_catalog.current_setting('{_STEP}')::pg_catalog.int8 "
        "OPERATOR(pg_catalog.-) 1 LIMIT 2"
    )
    before = (
        f"SELECT {value} FROM {table.source} WHERE {above} AND {column} {LESS} {two}.most "
        f"ORDER BY {column} DESC LIMIT 1"
    )
    return (
        f"SELECT CASE WHEN {two}.found {EQUAL} 2 AND {two}.least {EQUAL} {two}.most "
        f"THEN ({before}) ELSE {two}.least END AS bound, "
        f"CASE WHEN {two}.found {EQUAL} 2 THEN {two}.most END AS beyond "
        "FROM (SELECT pg_catalog.min(v) AS least, pg_catalog.max(v) AS most, "
        f"pg_catalog.count(*) AS found FROM ({pair}) AS pair) AS {two}"
    )


def pair(target: Target, low: Key | None, step: int) -> Statement:
    """Read the values at which the next slice ends and the one after it begins.

    For a table that is swept as a whole: one that is distributed answers no recursive query.
    """
    args = Args()
    column = target.qualified_column
    above = KeyRange(low, None).limits(target, args)
    return Statement(
        f"SELECT {target.base_value} FROM {target.table.source} "
        f"WHERE {above}{target.column.range(args, target.table.reference)} "
        f"ORDER BY {column} OFFSET {args.add(max(step - 1, 0), 'bigint')} LIMIT 2",
        tuple(args),
    )


def value_before(target: Target, low: Key | None, value: Key) -> Statement:
    """Read the greatest value above ``low`` and below ``value``."""
    args = Args()
    column = target.qualified_column
    above = KeyRange(low, None).limits(target, args)
    below = f"{column} {LESS} {args.add(value, target.column.type_name)}"
    return Statement(
        f"SELECT {target.base_value} FROM {target.table.source} WHERE {above}{below} "
        f"AND {target.column.range(args, target.table.reference)} ORDER BY {column} DESC LIMIT 1",
        tuple(args),
    )


def _unlike(target: Target, name: str) -> str:
    """Return a name that the table does not hide."""
    return f"{name}_" if target.table.reference == quote(name) else name
