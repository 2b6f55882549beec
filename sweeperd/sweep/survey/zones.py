"""The time zone of a sweep: one that both sides know alike, and that decides the expression."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import asyncpg

from sweeperd.config.models import SweepConfig
from sweeperd.config.values.window import find_zone
from sweeperd.errors import SweepError
from sweeperd.postgres.catalog import Column
from sweeperd.postgres.node_tree import Node
from sweeperd.postgres.sql import operand as operand_sql
from sweeperd.postgres.sql import zones as sql
from sweeperd.postgres.sql.expired import Args
from sweeperd.postgres.sql.rows import Target
from sweeperd.postgres.sqlstate import Fault, classify, describe
from sweeperd.postgres.transaction import Connection, fetch, fetchval, savepoint
from sweeperd.sweep.survey.instants import from_micros, latest_reading, to_micros
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
_AROUND: Final = range(-50, 51)  # hours
_MOST_REASONS: Final = 3


@dataclass(frozen=True)
class Sampling:
    """How many rows are looked at.

    Attributes:
        percent: Share of the table's blocks.
        limit: Rows.
    """

    percent: float
    limit: int


async def zone_hold(connection: Connection, sweep: SweepConfig, cutoff: datetime) -> str | None:
    """Return why the sweep's zone is in doubt: host and server disagree about it.

    Raises:
        SweepError: One of the two does not know the zone.
    """
    name = sweep.column_timezone
    if name is None:
        return None
    try:
        zone = find_zone(name)
    except ValueError as error:
        raise SweepError(
            f"column_timezone: this host does not know the time zone: {error}",
            cure="install its time zone data (tzdata)",
        ) from None
    bound = cutoff - (sweep.keep or timedelta())
    instants = [at + timedelta(hours=h) for at in {cutoff, bound} for h in _AROUND]
    try:
        async with savepoint(connection):
            asked = sql.local_times(name, [to_micros(at) for at in instants])
            rows = await fetch(connection, asked)
    except asyncpg.InvalidParameterValueError:
        raise SweepError(
            f'column_timezone: the server does not know the time zone "{name}"',
            cure="write an IANA name that SELECT name FROM pg_timezone_names lists",
        ) from None
    for at, row in zip(instants, rows, strict=True):
        here = at.astimezone(zone).replace(tzinfo=None)
        there = from_micros(row["local"]).replace(tzinfo=None)
        if here != there:
            return (
                f"this host and the server disagree about the time zone {name}: "
                f"{at:%Y-%m-%d %H:%M:%S} UTC is {here:%Y-%m-%d %H:%M:%S} here and "
                f"{there:%Y-%m-%d %H:%M:%S} there; bring the time zone data (tzdata) of both up "
                "to date"
            )
    return None


def repeated_hour(sweep: SweepConfig, cutoff: datetime) -> str | None:
    """Return why an expression must wait: a local time may mean now or an hour that comes."""
    if sweep.expression_timezone in {None, "UTC"} or sweep.column_timezone is None:
        return None
    zone = find_zone(sweep.column_timezone)
    local = cutoff.astimezone(zone).replace(tzinfo=None)
    until = latest_reading(local, zone)
    if until <= cutoff:
        return None
    return (
        f"the hour before {local:%Y-%m-%d %H:%M} in {sweep.column_timezone} is about to be "
        "repeated: where and condition wait until it has passed the second time"
    )


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
        await self._connection.execute("SAVEPOINT elsewhere")
        # 'today' is another day there than in UTC, which is in force here
        far = _WEST if from_micros(self._cutoff).hour < _EAST_IS_AHEAD else _EAST
        await self._connection.execute(sql.set_zone(far))
        tree = await parse_tree(self._connection, self._target.table, pieces)
        await self._connection.execute("ROLLBACK TO SAVEPOINT elsewhere")
        return tree

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
        limits = self._sampling
        statement = build(
            self._target.table, value, args, percent=limits.percent, limit=limits.limit
        )
        try:
            async with savepoint(self._connection):
                return bool(await fetchval(self._connection, statement))
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
        await self._connection.execute("SAVEPOINT elsewhere")
        await self._connection.execute(sql.set_zone(zone))
        try:
            rows = await fetch(self._connection, statement)
        except asyncpg.PostgresError as error:
            if classify(error) is not Fault.ROW:
                raise SweepError(f"cannot be evaluated: {describe(error)}") from error
            rows = []  # some row makes it fail: what is sampled proves nothing
        await self._connection.execute("ROLLBACK TO SAVEPOINT elsewhere")
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
