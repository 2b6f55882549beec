"""SQL on the swept tables, as pure builders: identifiers are quoted, values are parameters.

Catalogue reads are in ``sql_catalog``. A builder returns a `Statement`; nothing here talks to
a server. The operator's ``where`` is the only text that enters as it is, in parentheses of
its own; the configuration proves it to be one expression.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sweeperd.postgres.sql.expired import (
    CONCATENATED,
    EQUAL,
    Args,
    Condition,
    quote,
)
from sweeperd.postgres.sql.slices import (
    NotedTids,
    Slice,
    Tid,
    TidRange,
    Tids,
)
from sweeperd.postgres.sql.target import Statement, Table, Target

_WHOLE: Final = 100.0  # percent


def delete(target: Target, part: Slice, args: Args) -> str:
    """Delete the expired rows of a slice."""
    return f"DELETE FROM {target.table.source} WHERE {part.narrow(target, args)}"


def delete_skip_locked(target: Target, part: Slice, args: Args) -> str:
    """Delete the expired rows of a slice of one heap that nobody has locked.

    ``ctid = ANY(ARRAY(...))`` and never ``IN (SELECT ...)``, which may be planned as a join that
    runs the locking query again.
    """
    reference = target.table.reference
    return (
        f"DELETE FROM {target.table.source} "
        f"WHERE {reference}.ctid {EQUAL} ANY(ARRAY({free_rows(target, part, args)})) "
        f"AND ({target.condition(args)}) IS TRUE"
    )


def free_rows(target: Target, part: Slice | NotedTids, args: Args) -> str:
    """Lock the expired rows of a slice that nobody has locked, and return their places."""
    reference = target.table.reference
    return (
        f"SELECT {reference}.ctid FROM {target.table.source} "
        f"WHERE {part.narrow(target, args)} FOR UPDATE OF {reference} SKIP LOCKED"
    )


def unmarked(target: Target) -> str:
    """Return the condition that no lock of a row ever left a mark in it."""
    return f"{target.table.reference}.xmax {EQUAL} '0'::pg_catalog.xid"


def count(target: Target, part: Slice | None = None, *, limit: int) -> Statement:
    """Count expired rows, at most ``limit``."""
    args = Args()
    return Statement(counting(target, part, args, limit=limit), tuple(args))


def count_each(targets: Sequence[Target], *, limit: int) -> Statement:
    """Count the expired rows of several tables, at most ``limit`` each, in one row."""
    args = Args()
    counts = [f"({counting(target, None, args, limit=limit)})" for target in targets]
    return Statement(f"SELECT {', '.join(counts)}", tuple(args))


def counting(target: Target, part: Slice | None, args: Args, *, limit: int) -> str:
    """Return a query for the number of expired rows, at most ``limit``."""
    condition = part.narrow(target, args) if part else _anywhere(target, args)
    return (
        f"SELECT pg_catalog.count(*) FROM (SELECT 1 FROM {target.table.source} WHERE {condition} "
        f"LIMIT {args.add(limit, 'bigint')}) AS bounded"
    )


def count_referenced(target: Target, *, limit: int) -> Statement:
    """Count expired rows that a known key keeps, at most ``limit``."""
    args = Args()
    return Statement(
        f"SELECT pg_catalog.count(*) FROM (SELECT FROM {target.table.source} "
        f"WHERE ({target.condition(args)}) AND {target.referenced} "
        f"LIMIT {args.add(limit, 'bigint')}) AS bounded",
        tuple(args),
    )


def places(target: Target, part: Slice | None = None, *, limit: int) -> Statement:
    """Return the places of expired rows, of a slice or anywhere in a heap, at most ``limit``."""
    args = Args()
    return Statement(places_of(target, part, args, limit=limit), tuple(args))


def places_of(target: Target, part: Slice | NotedTids | None, args: Args, *, limit: int) -> str:
    """Return a query for the places of expired rows, at most ``limit``."""
    condition = part.narrow(target, args) if part else _anywhere(target, args)
    return _places(target, condition, args, limit)


def _anywhere(target: Target, args: Args) -> str:
    return f"({target.condition(args)}){target.unreferenced}"


def places_unjudged(target: Target, part: TidRange | Tids, *, limit: int) -> Statement:
    """Return the places of all rows of a slice, expired or not: nothing of theirs is read."""
    args = Args()
    return Statement(_places(target, part.limits(target, args), args, limit), tuple(args))


def _places(target: Target, condition: str, args: Args, limit: int) -> str:
    return (
        f"SELECT {target.table.reference}.ctid FROM {target.table.source} "
        f"WHERE {condition} LIMIT {args.add(limit, 'bigint')}"
    )


def count_free(target: Target, *, limit: int) -> Statement:
    """Count expired rows that nobody has locked, at most ``limit``; they are locked meanwhile."""
    args = Args()
    return Statement(
        f"SELECT pg_catalog.count(*) FROM ({_free(target, args, limit)}) AS free", tuple(args)
    )


def free_places(target: Target, *, limit: int) -> Statement:
    """Return the places of expired rows that nobody has locked, at most ``limit``."""
    args = Args()
    return Statement(_free(target, args, limit), tuple(args))


def _free(target: Target, args: Args, limit: int) -> str:
    reference = target.table.reference
    return (
        f"SELECT {reference}.ctid FROM {target.table.source} WHERE {_anywhere(target, args)} "
        f"LIMIT {args.add(limit, 'bigint')} FOR UPDATE OF {reference} SKIP LOCKED"
    )


def count_unreadable(target: Target, *, limit: int, percent: float = _WHOLE) -> Statement | None:
    """Count text that is in no form of a time in UTC, at most ``limit``; None for other types."""
    if isinstance(target.expired, Condition) or target.expired.text is None:
        return None
    args = Args()
    unreadable = target.expired.unreadable(target.table.reference)
    where = f" AND ({target.where}\n)" if target.where else ""
    return Statement(
        "SELECT pg_catalog.count(*) FROM (SELECT 1 "
        f"FROM {thinned(target.table, percent, args)} WHERE {unreadable}{where} "
        f"LIMIT {args.add(limit, 'bigint')}) AS bounded",
        tuple(args),
    )


def estimate(target: Target) -> Statement:
    """Ask the planner how many rows are expired; nothing is read."""
    args = Args()
    return Statement(
        "EXPLAIN (FORMAT JSON, VERBOSE) "
        f"SELECT FROM {target.table.source} WHERE {target.condition(args)}",
        tuple(args),
    )


def explain(target: Target) -> Statement:
    """Ask the planner for a DELETE of all that is expired; nothing is read or deleted."""
    args = Args()
    return Statement(
        f"EXPLAIN DELETE FROM {target.table.source} "
        f"WHERE ({target.condition(args)}) IS TRUE{target.unreferenced}",
        tuple(args),
    )


def thinned(table: Table, percent: float, args: Args, *, seed: int | None = None) -> str:
    """Return a table for FROM, of whose blocks about ``percent`` are read.

    Args:
        table: The table.
        percent: Of its blocks.
        args: Takes the parameter.
        seed: With the same one the same blocks are read again; None for others each time.
    """
    if percent >= _WHOLE:
        return table.source
    again = f" REPEATABLE ({seed})" if seed is not None else ""
    return f"{table.source} TABLESAMPLE pg_catalog.system ({args.add(percent, 'real')}){again}"


# as text: the driver would look an array's type up, under a path that others may write to
_VALUES: Final = "pg_catalog.string_agg(value::pg_catalog.text, ' ')"


def sample(target: Target, *, percent: float, limit: int, values: bool) -> Statement:
    """Look at up to ``limit`` rows: how many, how many are expired, and the column's values."""
    args = Args()
    table = target.table
    value = target.base_value if values else "NULL"
    return Statement(
        "SELECT pg_catalog.count(*) AS rows, "
        "pg_catalog.count(*) FILTER (WHERE expired) AS expired, "
        f"{_VALUES if values else 'NULL'} AS values "
        f"FROM (SELECT {value} AS value, ({target.condition(args)}) IS TRUE AS expired "
        f"FROM {thinned(table, percent, args)} LIMIT {args.add(limit, 'bigint')}) AS sampled",
        tuple(args),
    )


def newest(target: Target) -> Statement:
    """Return whether the row with the column's greatest value is expired; an index serves."""
    args = Args()
    table = target.table
    column = target.qualified_column
    return Statement(
        f"SELECT ({target.condition(args)}) IS TRUE AS expired FROM {table.source} "
        f"WHERE {column} IS NOT NULL ORDER BY {column} DESC LIMIT 1",
        tuple(args),
    )


def row_key(target: Target, tid: Tid, key_columns: tuple[str, ...]) -> Statement:
    """Return a row's key as text, such as ``id=7``, or no row when it has moved."""
    args = Args()
    table = target.table
    key = key_text(table, key_columns, args)
    place = args.add(tid, "tid")
    return Statement(
        f"SELECT {key} FROM {table.source} WHERE {table.reference}.ctid {EQUAL} {place}",
        tuple(args),
    )


def key_text(table: Table, key_columns: tuple[str, ...], args: Args) -> str:
    """Return an expression for a row's key as text, such as ``id=7``; its place without a key."""
    named = [
        f"{args.add(f'{name}=', 'text')} {CONCATENATED} "
        f"coalesce({table.reference}.{quote(name)}::pg_catalog.text, 'null')"
        for name in key_columns
    ]
    if named:
        return f"pg_catalog.concat_ws(', ', {', '.join(named)})"
    return f"pg_catalog.concat('ctid=', {table.reference}.ctid)"


def lock_probe(table: Table) -> Statement:
    """Take the table's lock as a DELETE does, and touch no row."""
    return Statement(f"DELETE FROM {table.source} WHERE false")
