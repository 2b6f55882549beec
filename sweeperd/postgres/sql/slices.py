"""Slices of a table's expired rows; each narrows a statement, and the expired predicate decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sweeperd.postgres.sql.expired import (
    AT_LEAST,
    AT_MOST,
    EQUAL,
    GREATER,
    LESS,
    Args,
    Key,
)
from sweeperd.postgres.sql.literals import Literals
from sweeperd.postgres.sql.target import Target

Tid = tuple[int, int]

_MINUS: Final = "OPERATOR(pg_catalog.-)"
_BITS: Final = "OPERATOR(pg_catalog.&)"
_LOW_BITS: Final = 2**32 - 1
NEXT_XID: Final = (
    "pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())"
    "::pg_catalog.text::pg_catalog.int8"
)


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
