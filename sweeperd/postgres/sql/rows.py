"""SQL on the swept tables, as pure builders: identifiers are quoted, values are parameters.

Catalogue reads are in ``sql_catalog``. A builder returns a `Statement`; nothing here talks to
a server. The operator's ``where`` is the only text that enters as it is, in parentheses of
its own; the configuration proves it to be one expression.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sweeperd.postgres.sql.expired import (
    AT_LEAST,
    AT_MOST,
    CONCATENATED,
    EQUAL,
    GREATER,
    LESS,
    Args,
    Condition,
    Expired,
    Key,
    builtin,
    quote,
)
from sweeperd.postgres.sql.literals import Literals
from sweeperd.postgres.sql.references import ForeignKey

Tid = tuple[int, int]

_WHOLE: Final = 100.0  # percent

_MINUS: Final = "OPERATOR(pg_catalog.-)"
_BITS: Final = "OPERATOR(pg_catalog.&)"
_LOW_BITS: Final = 2**32 - 1
NEXT_XID: Final = (
    "pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())"
    "::pg_catalog.text::pg_catalog.int8"
)


@dataclass(frozen=True)
class Statement:
    """SQL text and its parameters, in order."""

    text: str
    args: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table as a FROM clause names it.

    Attributes:
        schema: Schema, as the catalogue has it.
        name: Name, as the catalogue has it.
        only: Leave out children (``ONLY``).
        alias: Name that the operator's ``where`` knows the table by, for a leaf.
    """

    schema: str
    name: str
    only: bool = True
    alias: str | None = None

    @property
    def quoted(self) -> str:
        """The qualified, quoted name."""
        return f"{quote(self.schema)}.{quote(self.name)}"

    @property
    def source(self) -> str:
        """The table for FROM and DELETE FROM."""
        only = "ONLY " if self.only else ""
        alias = f" AS {quote(self.alias)}" if self.alias and self.alias != self.name else ""
        return f"{only}{self.quoted}{alias}"

    @property
    def reference(self) -> str:
        """The name that columns of this table are qualified by."""
        return quote(self.alias or self.name)

    def column(self, name: str) -> str:
        """Return a column, qualified."""
        return f"{self.reference}.{quote(name)}"


@dataclass(frozen=True)
class Target:
    """One table and what goes from it.

    Attributes:
        table: The table.
        expired: What makes a row expired.
        where: A further condition of the operator's.
        two_steps: The operator's text may read other tables: rows are locked first, and
            deleted by a second statement, whose new snapshot sees the other tables as they
            are. Within one statement a recheck would see them as they were.
        kept_by: Foreign keys that keep the rows that they refer to.
        cascades: Foreign keys by which rows of the table itself are deleted along. So rows are
            locked first, and deleted only with all rows below them.
    """

    table: Table
    expired: Expired | Condition
    where: str | None = None
    two_steps: bool = False
    kept_by: tuple[ForeignKey, ...] = ()
    cascades: tuple[ForeignKey, ...] = ()

    @property
    def column(self) -> Expired:
        """The column's own predicate.

        Raises:
            TypeError: The sweep has a condition instead; block ranges never ask.
        """
        if isinstance(self.expired, Condition):
            raise TypeError("a condition has no column")
        return self.expired

    @property
    def qualified_column(self) -> str:
        """The column, qualified by the table's name."""
        return f"{self.table.reference}.{quote(self.column.column)}"

    @property
    def base_value(self) -> str:
        """The column as its base type: the driver looks any other type up in the catalogues."""
        return f"{self.qualified_column}::{builtin(self.column.type_name)}"

    def condition(self, args: Args) -> str:
        """Return the expired predicate, the operator's ``where`` included."""
        expired = self.expired.condition(args, self.table.reference)
        return f"{expired} AND ({self.where}\n)" if self.where else expired

    @property
    def unreferenced(self) -> str:
        """The rest of a WHERE: nobody refers to the row.

        It stands beside the expired predicate: inside IS TRUE it would be a SubPlan for each row.
        """
        row = self.table.reference
        return "".join(f" AND NOT {key.exists(row)}" for key in self.kept_by)

    @property
    def referenced(self) -> str:
        """The condition that somebody refers to a row by one of these keys."""
        row = self.table.reference
        return "(" + (" OR ".join(key.exists(row) for key in self.kept_by) or "false") + ")"


@dataclass(frozen=True)
class TidRange:
    """Rows of one heap from ``low`` (inclusive) to ``high`` (exclusive)."""

    low: Tid
    high: Tid

    def narrow(self, target: Target, args: Args) -> str:
        """Return the condition of this slice, the expired predicate included.

        IS TRUE hides the column's index from the planner, which under stale statistics would
        read every expired entry for each block range.
        """
        expired = f"({target.condition(args)}) IS TRUE"
        return f"{self.limits(target, args)} AND {expired}{target.unreferenced}"

    def limits(self, target: Target, args: Args) -> str:
        """Return the slice's own limits."""
        ctid = f"{target.table.reference}.ctid"
        low, high = args.add(self.low, "tid"), args.add(self.high, "tid")
        return f"{ctid} {AT_LEAST} {low} AND {ctid} {LESS} {high}"


@dataclass(frozen=True)
class KeyRange:
    """Rows whose column lies above ``low`` and not above ``high``; None is no limit."""

    low: Key | None
    high: Key | None

    def narrow(self, target: Target, args: Args) -> str:
        """Return the condition of this slice, the expired predicate included."""
        return f"{self.limits(target, args)}{target.condition(args)}{target.unreferenced}"

    def limits(self, target: Target, args: Args) -> str:
        """Return the slice's own limits, each followed by AND."""
        column = target.qualified_column
        kind = target.column.type_name
        low = "" if self.low is None else f"{column} {GREATER} {args.add(self.low, kind)} AND "
        high = "" if self.high is None else f"{column} {AT_MOST} {args.add(self.high, kind)} AND "
        return low + high


@dataclass(frozen=True)
class Tids:
    """Rows of one heap by place; the expired predicate still decides."""

    tids: tuple[Tid, ...]

    def narrow(self, target: Target, args: Args) -> str:
        """Return the condition of this slice, the expired predicate included."""
        expired = f"({target.condition(args)}) IS TRUE"
        return f"{self.limits(target, args)} AND {expired}{target.unreferenced}"

    def limits(self, target: Target, args: Args) -> str:  # noqa: ARG002 - as each slice
        """Return the slice's own limits."""
        places = Literals().add(list(self.tids), "tid[]")  # a parameter would be looked up
        return f"{target.table.reference}.ctid {EQUAL} ANY({places})"


@dataclass(frozen=True)
class NotedTids:
    """Rows of one heap by place, as an earlier statement of the same batch noted them.

    Attributes:
        places: SQL of a tid[].
    """

    places: str

    def narrow(self, target: Target, args: Args) -> str:
        """Return the condition of this slice, the expired predicate included."""
        return f"{self.limits(target, args)} AND ({target.condition(args)}) IS TRUE"

    def limits(self, target: Target, args: Args) -> str:  # noqa: ARG002 - as the others'
        """Return the slice's own limits."""
        return f"{target.table.reference}.ctid {EQUAL} ANY({self.places})"


@dataclass(frozen=True)
class Versions:
    """Versions of rows as one snapshot saw them; the expired predicate still decides.

    Attributes:
        tids: The places.
        versions: What `version` said of each row: another row that has taken the place since, a
            newer version of the same, and the row of another heap have another one.
        horizon: The first transaction id that the snapshot knew nothing of, 64 bits. A row whose
            xmin, which has 32, is that of a later transaction is not taken for the one read.
    """

    tids: tuple[Tid, ...]
    versions: tuple[str, ...]
    horizon: int

    def narrow(self, target: Target, args: Args) -> str:
        """Return the condition of this slice, the expired predicate included."""
        expired = f"({target.condition(args)}) IS TRUE"
        return f"{self.limits(target, args)} AND {expired}{target.unreferenced}"

    def limits(self, target: Target, args: Args) -> str:
        """Return the slice's own limits.

        VACUUM FREEZE leaves xmin as it is; ids that came around again are told by the horizon.
        """
        row = target.table.reference
        places = Literals().add(list(self.tids), "tid[]")
        known = Literals().add(list(self.versions), "text[]")
        horizon = args.add(self.horizon, "bigint")
        return (
            f"{row}.ctid {EQUAL} ANY({places}) AND {version(row)} {EQUAL} ANY({known}) "
            f"AND (({row}.xmin::pg_catalog.text::pg_catalog.int8 {_MINUS} {horizon}) "
            f"{_BITS} {_LOW_BITS}) {AT_LEAST} ((SELECT {NEXT_XID}) {_MINUS} {horizon})"
        )


def version(row: str) -> str:
    """Return what tells a version of a row: its heap, its place, and who made it."""
    return f"pg_catalog.concat({row}.tableoid, {row}.ctid, ' ', {row}.xmin)"


Slice = TidRange | KeyRange | Tids | Versions


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
