"""What a run learns before its first batch: server, table, cutoff, sample, doubts, plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

import asyncpg

from sweeperd.config.models import DatabaseConfig, SweepConfig
from sweeperd.config.values.sql_expression import cut_at_cutoff
from sweeperd.errors import SweepError
from sweeperd.host.clock import Clock
from sweeperd.postgres import catalog
from sweeperd.postgres.catalog import Column, Relation, Server, quote_if_needed
from sweeperd.postgres.sql import catalog as sql_catalog
from sweeperd.postgres.sql import rows as sql
from sweeperd.postgres.sql.expired import Condition, Expired
from sweeperd.postgres.sql.rows import Target
from sweeperd.postgres.sql.zones import set_zone
from sweeperd.postgres.sqlstate import Fault, classify
from sweeperd.postgres.transaction import (
    Connection,
    fetch,
    fetchval,
    reading,
    savepoint,
    set_search_path,
)
from sweeperd.sweep.survey.cascades import refuse_cascades_back
from sweeperd.sweep.survey.clock import read_clock
from sweeperd.sweep.survey.expiry import expired_rows, unit_of
from sweeperd.sweep.survey.facts import Facts, fingerprint
from sweeperd.sweep.survey.frame import table_frame
from sweeperd.sweep.survey.identity import Identity
from sweeperd.sweep.survey.instants import from_micros, to_micros
from sweeperd.sweep.survey.leaves import find_leaves
from sweeperd.sweep.survey.parsed_expression import ParsedExpression
from sweeperd.sweep.survey.target import Leaf, make_target, table_of
from sweeperd.sweep.survey.trust import TrustedPath, parse_trusted
from sweeperd.sweep.survey.units import wrong_unit
from sweeperd.sweep.survey.usual_load import Amount
from sweeperd.sweep.survey.zone_check import Sampling, ZoneCheck
from sweeperd.sweep.survey.zones import repeated_hour, zone_hold

_SAMPLE_BLOCKS: Final = 64
_SAMPLE_ROWS: Final = 10_000
_SAMPLE_LEAVES: Final = 100
_LEAST_SAMPLE_ROWS: Final = 100  # of one leaf


@dataclass(frozen=True)
class Survey:
    """One table at one cutoff.

    Attributes:
        clock_hold: Why the two clocks are in doubt, or None.
        zone_hold: Why the time zone is in doubt, or None.
        repeated_hour: Why the expression must wait for a local hour to pass, or None.
        sampled: Rows sampled.
        expired: How much of the table is expired, by the sample; nothing of an empty table.
        survivors: Whether a sampled row survives; True for an empty table.
        warnings: What the operator should know.
        search_path: Under which the statements on the table run; None is the role's own path.
    """

    server: Server
    root: Relation
    column: Column | None
    unit: str
    cutoff: datetime
    target: Target
    leaves: tuple[Leaf, ...]
    key_columns: tuple[str, ...]
    columns: tuple[Column, ...]
    facts: Facts
    clock_hold: str | None
    zone_hold: str | None
    repeated_hour: str | None
    sampled: int
    expired: Amount
    survivors: bool
    warnings: tuple[str, ...]
    search_path: tuple[str, ...] | None

    @property
    def served(self) -> bool:
        """Whether an index finds the column's greatest value."""
        column = self.column
        indexes = [index for leaf in self.leaves for index in leaf.indexes]
        return column is not None and any(index.serves(column) for index in indexes)

    def identity(self, *, archived: bool) -> Identity:
        """Return what must not change while the run is under way."""
        leaves = [leaf.relation for leaf in self.leaves]
        if self.column is not None and self.target.where is None and not archived:
            return Identity.of(self.root, leaves, [self.column])
        return Identity.of(self.root, leaves, self.columns, whole=archived)

    @property
    def lockable(self) -> bool:
        """Whether this role may lock rows (SELECT ... FOR UPDATE needs UPDATE)."""
        return all(leaf.lockable for leaf in self.leaves)


async def survey(
    connection: Connection, sweep: SweepConfig, database: DatabaseConfig, clock: Clock
) -> Survey:
    """Read all that a run must know; one short transaction with its own timeout.

    Raises:
        SweepError: Table, column, type, unit or privilege forbid the sweep.
    """
    # the zone is set once the server is known to have it
    async with reading(connection, replace(table_frame(sweep), time_zone=None)):
        server, held = await read_clock(connection, clock, database)
        elapsed = clock.elapsed()
        root = await catalog.find_table(connection, sweep.table)
        cutoff = from_micros(server.cutoff)
        columns = await catalog.read_columns(connection, root.oid)
        zone_doubt = await zone_hold(connection, sweep, cutoff)
        if sweep.expression_timezone is not None:
            await connection.execute(set_zone(sweep.expression_timezone))
        column, unit, expired = await _expiry(connection, sweep, root, columns, cutoff)
        warnings: list[str] = []
        target = make_target(table_of(root, root, whole=root.kind == "p"), expired, sweep)
        await refuse_cascades_back(connection, root)
        obey = sweep.row_security == "obey"
        leaves = await find_leaves(connection, root, column, target, warnings, obey=obey)
        if target.two_steps and not all(leaf.lockable for leaf in leaves):
            closed = next(leaf.relation for leaf in leaves if not leaf.lockable)
            raise SweepError(
                f"where or condition may read other tables, so rows of {closed.shown} must be "
                "locked first, and this role may not",
                cure=f"ALTER ROLE {quote_if_needed(closed.role)} BYPASSRLS"
                if closed.row_security
                else closed.grant("UPDATE"),
            )
        sampling = Sampling(_percent(leaves), _SAMPLE_ROWS)
        check = ZoneCheck(connection, target, columns, cutoff=server.cutoff, sampling=sampling)
        decides = fingerprint(sweep, unit, column.shown if column else "")
        facts = await _facts(connection, server, decides, root.oid, (elapsed, clock.boot()))
        key_columns = await catalog.primary_key(connection, root.oid)
        # from here on rows are read, under the path that statements on the table have
        parsed, path = await _read_text(connection, sweep, root, target)
        if parsed is not None and sweep.column_timezone is None:
            await check.require_same("condition" if sweep.condition else "where", parsed)
        warnings += path.warnings() if path is not None else []
        found = Survey(
            server=server,
            root=root,
            column=column,
            unit=unit,
            cutoff=cutoff,
            target=target,
            leaves=tuple(leaves),
            key_columns=key_columns,
            columns=tuple(columns),
            facts=facts,
            clock_hold=held,
            zone_hold=zone_doubt,
            repeated_hour=repeated_hour(sweep, cutoff),
            sampled=0,
            expired=Amount(0.0, 0.0),
            survivors=True,
            search_path=path.schemas if path is not None else None,
            warnings=tuple(warnings),
        )
        return await _sampled(connection, found)


async def _read_text(
    connection: Connection,
    sweep: SweepConfig,
    root: Relation,
    target: Target,
) -> tuple[ParsedExpression | None, TrustedPath | None]:
    """Parse the operator's text, if any, and set the path under which rows are read from now on.

    Raises:
        SweepError: The text uses what a stranger may replace.
    """
    text = sweep.condition or sweep.where
    if text is None:
        await set_search_path(connection, None)
        return None, None
    pieces = cut_at_cutoff(text) if sweep.condition else (text,)
    return await parse_trusted(connection, root, target.table, pieces)


def _percent(leaves: Sequence[Leaf]) -> float:
    """Return the share of the table's blocks that a sample reads."""
    blocks = sum(leaf.blocks for leaf in leaves)
    return 100.0 * _SAMPLE_BLOCKS / blocks if blocks > _SAMPLE_BLOCKS else 100.0


async def _facts(
    connection: Connection,
    server: Server,
    decides: str,
    oid: int,
    host: tuple[float, str | None],
) -> Facts:
    """Return what the next run compares itself with; ``host`` is its elapsed clock and boot."""
    wal = next_xid = None
    if not server.in_recovery:
        wal = await catalog.optional(connection, sql_catalog.WAL_POSITION)
        next_xid = await catalog.optional(connection, sql_catalog.NEXT_XID)
    return Facts(
        fingerprint=decides,
        cutoff=server.cutoff,
        elapsed=host[0],
        boot=host[1],
        system_identifier=server.system_identifier,
        timeline=server.timeline,
        wal=wal,
        oid=oid,
        next_xid=next_xid,
    )


async def _expiry(
    connection: Connection,
    sweep: SweepConfig,
    root: Relation,
    columns: list[Column],
    cutoff: datetime,
) -> tuple[Column | None, str, Expired | Condition]:
    """Return the column, its unit and what makes a row expired."""
    if sweep.condition is not None:
        pieces = cut_at_cutoff(sweep.condition)
        return None, "condition", Condition(pieces, to_micros(cutoff))
    column = catalog.find_column(columns, root.shown, sweep.column or "")
    type_name = column.base or column.shown
    unit = unit_of(sweep, type_name)
    ordered = unit == "iso8601" and await catalog.sorts_as_time(connection, column)
    expired = expired_rows(
        sweep, column=column.name, type_name=type_name, cutoff=cutoff, time_ordered=ordered
    )
    return column, unit, expired


async def _sampled(connection: Connection, found: Survey) -> Survey:
    """Sample the table: are the numbers times, and would any row survive?

    Raises:
        SweepError: The numbers are not times in the sweep's unit.
    """
    leaves = _spread(found.leaves)
    percent = _percent(found.leaves)
    numbers = found.unit.startswith("epoch")
    sample = await _sample_leaves(connection, leaves, percent, values=numbers)
    thinned_out = not sample.rows and percent < 100.0  # noqa: PLR2004 - the whole
    if thinned_out:
        sample = await _sample_leaves(connection, leaves, 100.0, values=numbers)
    name = found.column.name if found.column else ""
    if wrong := wrong_unit(found.unit, sample.values):
        raise SweepError(f"column {name} of {found.root.shown}: {wrong}", cure="correct unit")
    share = sample.expired / sample.rows if sample.rows else 0.0
    survivors = share < 1.0 or await _newest_survives(connection, found)
    # a sample that met none of a few rows among many empty blocks tells nothing of their number
    parts = len(_filled(found.leaves)) / max(len(leaves), 1) * 100.0 / percent
    amount = Amount(share, None if thinned_out else sample.expired * parts)
    return replace(found, sampled=sample.rows, expired=amount, survivors=survivors)


@dataclass
class _Sample:
    """What was seen of a table's rows: how many, how many expired, and numeric values."""

    rows: int = 0
    expired: int = 0
    values: list[Any] = field(default_factory=list)


def _spread(leaves: tuple[Leaf, ...]) -> list[Leaf]:
    """Return the leaves to sample: all, or some evenly spread, which the newest is one of."""
    filled = _filled(leaves)
    step = max(len(filled) // _SAMPLE_LEAVES, 1)
    return filled[::-1][::step][::-1]


def _filled(leaves: tuple[Leaf, ...]) -> list[Leaf]:
    return [leaf for leaf in leaves if leaf.blocks or not leaf.one_heap] or list(leaves)


async def _sample_leaves(
    connection: Connection, leaves: list[Leaf], percent: float, *, values: bool
) -> _Sample:
    """Sample leaf by leaf.

    Through the parent one statement would lock the indexes of every partition, and reach foreign
    partitions.
    """
    sample = _Sample()
    limit = max(_SAMPLE_ROWS // max(len(leaves), 1), _LEAST_SAMPLE_ROWS)
    for leaf in leaves:
        row = await _sample(connection, leaf.target, (percent, limit), values=values)
        sample.rows += row["rows"]
        sample.expired += row["expired"]
        sample.values += row["values"] or ()
    return sample


async def _newest_survives(connection: Connection, found: Survey) -> bool:
    """Whether the greatest value of a leaf, found by an index, is not expired."""
    for leaf in reversed(found.leaves):
        served = found.column and any(index.serves(found.column) for index in leaf.indexes)
        if served and await fetchval(connection, sql.newest(leaf.target)) is False:
            return True
    return False


async def _sample(
    connection: Connection, target: Target, size: tuple[float, int], *, values: bool
) -> Any:  # noqa: ANN401 - asyncpg's record
    """Sample rows; a ``where`` that some row makes fail is left out, which only holds more."""
    percent, limit = size
    statement = sql.sample(target, percent=percent, limit=limit, values=values)
    try:
        async with savepoint(connection):
            return (await fetch(connection, statement))[0]
    except asyncpg.PostgresError as error:
        writes = isinstance(error, asyncpg.ReadOnlySQLTransactionError)
        if target.where is None or not (writes or classify(error) is Fault.ROW):
            raise
    return await _sample(connection, replace(target, where=None), size, values=values)
