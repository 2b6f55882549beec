"""SQL that finds the oldest expired row: one probe of an index, or a bounded sample. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sweeperd.postgres.sql.expired import GREATER, Args, Expired
from sweeperd.postgres.sql.rows import thinned
from sweeperd.postgres.sql.slices import TidRange
from sweeperd.postgres.sql.target import Statement, Target

# microseconds since 2000-01-01 UTC
NOW: Final = (
    "SELECT ((pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) "
    "OPERATOR(pg_catalog.-) 946684800) OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8"
)
# Without statistics the planner would rather sort all rows.
WALK_INDEX: Final = {"enable_sort": "off", "enable_bitmapscan": "off", "jit": "off"}


@dataclass(frozen=True)
class Wanted:
    """Which expired rows count.

    Attributes:
        target: What is expired now.
        set_aside: What was expired when a whole pass ended, which left it for a reason; None when
            no whole pass is known.
    """

    target: Target
    set_aside: Expired | None = None

    def condition(self, args: Args) -> str:
        """Return the condition, the operator's ``where`` included."""
        condition = self.target.condition(args)
        if self.set_aside is None:
            return condition
        reference = self.target.table.reference
        former = self.set_aside.condition(args, reference)
        above = ""
        if self.set_aside.upper is not None and self.set_aside.hole is None:
            # where an index begins to be read: below it lie the entries of rows that are gone
            kind = self.target.column.type_name
            upper = args.add(self.set_aside.upper, kind)
            above = f"{self.target.qualified_column} {GREATER} {upper} AND "
        return f"{above}{condition} AND ({former}) IS NOT TRUE"


def oldest(wanted: Wanted) -> Statement:
    """Read the least value of an expired row; an index on the column serves."""
    args, target = Args(), wanted.target
    return Statement(
        f"SELECT {target.base_value} FROM {target.table.source} "
        f"WHERE {wanted.condition(args)} ORDER BY {target.qualified_column} LIMIT 1",
        tuple(args),
    )


def oldest_sampled(wanted: Wanted, percent: float) -> Statement:
    """Read the least value among the expired rows of some blocks of a table."""
    args, target = Args(), wanted.target
    source = thinned(target.table, percent, args)
    return Statement(
        f"SELECT pg_catalog.min(v) FROM (SELECT {target.base_value} AS v FROM {source} "
        f"WHERE {wanted.condition(args)}) AS sampled",
        tuple(args),
    )


def count_sampled(wanted: Wanted, percent: float) -> Statement:
    """Count the expired rows in some blocks of a table."""
    args = Args()
    source = thinned(wanted.target.table, percent, args)
    return Statement(
        f"SELECT pg_catalog.count(*) FROM {source} WHERE {wanted.condition(args)}", tuple(args)
    )


def oldest_in(wanted: Wanted, blocks: TidRange) -> Statement:
    """Read the least value among the expired rows of a block range."""
    args, target = Args(), wanted.target
    return Statement(
        f"SELECT pg_catalog.min(v) FROM (SELECT {target.base_value} AS v "
        f"FROM {target.table.source} WHERE {blocks.limits(target, args)} "
        f"AND ({wanted.condition(args)}) IS TRUE) AS first",
        tuple(args),
    )
