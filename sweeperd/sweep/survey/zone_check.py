"""Whether an operator's text means something else in another time zone: refused, then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import asyncpg

from sweeperd.errors import SweepError
from sweeperd.postgres.catalog import Column
from sweeperd.postgres.node_tree import Node
from sweeperd.postgres.sql import operand as operand_sql
from sweeperd.postgres.sql import zones as sql
from sweeperd.postgres.sql.expired import Args
from sweeperd.postgres.sql.target import Target
from sweeperd.postgres.sqlstate import Fault, classify
from sweeperd.postgres.transaction import Connection, fetch, fetchval, savepoint
from sweeperd.sweep.survey.instants import from_micros
from sweeperd.sweep.survey.parsed_expression import ParsedExpression, parse_tree
from sweeperd.sweep.survey.typed_tree import TypedTree
from sweeperd.sweep.survey.zone_dependence import (
    Dependence,
    dependence,
    differing_constants,
    has_time_constants,
)

# Far apart, and of their own rules: no time zone database is asked for them.
_WEST: Final = "<-12>+12"
_EAST: Final = "<+14>-14"
_SUMMER_TIME: Final = "EST5EDT,M3.2.0,M11.1.0"
_EAST_IS_AHEAD: Final = 11  # hour of UTC from which its day is another than UTC's
_MOST_REASONS: Final = 3
_WHOLE: Final = 100.0


@dataclass(frozen=True)
class Sampling:
    """How many rows are looked at.

    Attributes:
        percent: Share of the table's blocks.
        limit: Rows.
    """

    percent: float
    limit: int


class ZoneCheck:
    """Finds out whether an operator's text means something else in another time zone.

    Args:
        connection: In a transaction.
        target: The swept table.
        columns: Its columns.
        cutoff: Microseconds since 2000-01-01 UTC.
        sampling: How many rows are looked at.
    """

    def __init__(
        self,
        connection: Connection,
        target: Target,
        columns: list[Column],
        *,
        cutoff: int,
        sampling: Sampling,
    ) -> None:
        self._connection = connection
        self._target = target
        self._cutoff = cutoff
        self._columns = {column.number: column.name for column in columns}
        self._sampling = sampling

    async def require_same(self, key: str, parsed: ParsedExpression) -> None:
        """Pass an expression that has one value in all time zones.

        Args:
            key: ``where`` or ``condition``.
            parsed: Its text as the server understands it.

        Raises:
            SweepError: It has not, or nobody can tell.
        """
        found = dependence(parsed)
        reasons = list(found.reasons)
        if has_time_constants(parsed):
            other = await self._parsed_elsewhere(parsed.pieces)
            reasons += differing_constants(parsed, other)
        if not reasons:
            reasons += await self._values(parsed, found)
        if not reasons and (found.hidden or found.texts or found.intervals):
            reasons += await self._verdicts(parsed)
        if reasons:
            raise SweepError(
                f"{key} depends on the session's time zone ({'; '.join(reasons[:_MOST_REASONS])})",
                cure='write column_timezone = "UTC", or the zone in which the application writes, '
                f"or name the zone in {key}: x AT TIME ZONE 'UTC'",
            )

    async def _parsed_elsewhere(self, pieces: tuple[str, ...]) -> Node:
        # 'today' is another day there than in UTC, which is in force here
        far = _WEST if from_micros(self._cutoff).hour < _EAST_IS_AHEAD else _EAST
        async with savepoint(self._connection, undone=True):
            await self._connection.execute(sql.set_zone(far))
            return await parse_tree(self._connection, self._target.table, pieces)

    async def _values(self, parsed: ParsedExpression, found: Dependence) -> list[str]:
        """Look at the texts that become timestamptz, and the intervals added to one."""
        texts = [
            "text that names no zone -> timestamp with time zone"
            for node in found.texts
            if await self._odd(parsed, node, texts=True)
        ]
        intervals = [
            "timestamp with time zone + interval with days"
            for node in found.intervals
            if await self._odd(parsed, node, texts=False)
        ]
        return texts + intervals

    async def _odd(self, parsed: ParsedExpression, node: Node, *, texts: bool) -> bool:
        args = Args()
        try:
            value = operand_sql.Writer(
                self._target.table, self._columns, _Names(parsed), args
            ).write(node)
        except ValueError:
            return True  # nobody can tell
        build = operand_sql.text_without_zone if texts else operand_sql.interval_with_days
        # beside the sample the start of the table, where the oldest rows are
        shares = sorted({self._sampling.percent, _WHOLE})
        try:
            async with savepoint(self._connection):
                for percent in shares:
                    limit = self._sampling.limit
                    statement = build(
                        self._target.table, value, Args(args), percent=percent, limit=limit
                    )
                    if await fetchval(self._connection, statement):
                        return True
                return False
        except asyncpg.PostgresError as error:
            if classify(error) is not Fault.ROW:
                raise
            return True

    async def _verdicts(self, parsed: ParsedExpression) -> list[str]:
        """Evaluate the expression for sampled rows in zones far apart.

        The first zone is asked again in the end: rows whose answer changes anyhow, by a clock
        or by chance, say nothing.
        """
        first = await self._holds(parsed, _WEST)
        others = [await self._holds(parsed, zone) for zone in (_EAST, _SUMMER_TIME)]
        again = await self._holds(parsed, _WEST)
        steady = {row: holds for row, holds in first.items() if again.get(row) == holds}
        for other in others:
            if any(other.get(row, holds) != holds for row, holds in steady.items()):
                return ["sampled rows differ"]
        return []

    async def _holds(self, parsed: ParsedExpression, zone: str) -> dict[str, bool]:
        args = Args()
        condition = sql.expression(parsed.pieces, self._cutoff, self._target.table, args)
        limits = self._sampling
        statement = operand_sql.verdicts(
            self._target.table, condition, args, percent=limits.percent, limit=limits.limit
        )
        try:
            async with savepoint(self._connection, undone=True):
                await self._connection.execute(sql.set_zone(zone))
                rows = await fetch(self._connection, statement)
        except asyncpg.PostgresError as error:
            if classify(error) is not Fault.ROW:
                raise
            return {}  # some row makes it fail: what is sampled proves nothing
        return {row["row"]: row["holds"] for row in rows}


class _Names:
    """Gives the name by which an immutable function or operator of pg_catalog is written."""

    def __init__(self, parsed: ParsedExpression) -> None:
        self._tree = TypedTree(parsed)

    def __call__(self, node: Node) -> str | None:
        called = self._tree.called(node)
        if len(called) != 1 or called[0].schema != "pg_catalog":
            return None
        # the texts' joins are STABLE, for they take any type
        if called[0].volatility != "i" and called[0].name not in {"anytextcat", "textanycat"}:
            return None
        if node.tag == "FUNCEXPR":
            return f"pg_catalog.{called[0].name}"
        operator = self._tree.parsed.operators.get(node.number("opno"))
        built_in = operator is not None and operator.schema == "pg_catalog"
        return f"OPERATOR(pg_catalog.{operator.name})" if operator and built_in else None
