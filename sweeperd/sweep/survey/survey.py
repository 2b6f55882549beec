"""What a run learns before its first batch: server, table, cutoff, sample, doubts, plan."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import asyncpg

from sweeperd.config.models import DatabaseConfig, SweepConfig
from sweeperd.config.values.sql_expression import cut_at_cutoff
from sweeperd.errors import SweepError
from sweeperd.host.clock import Clock
from sweeperd.postgres import catalog
from sweeperd.postgres.catalog import Column, Relation, Server
from sweeperd.postgres.sql import catalog as sql_catalog
from sweeperd.postgres.sql import rows as sql
from sweeperd.postgres.sql.expired import Condition, Expired
from sweeperd.postgres.sql.rows import Target
from sweeperd.postgres.sqlstate import Fault, classify
from sweeperd.postgres.transaction import (
    Connection,
    Frame,
    fetch,
    fetchval,
    reading,
    savepoint,
    set_search_path,
)
from sweeperd.sweep.survey.clock import read_clock
from sweeperd.sweep.survey.expiry import expired_rows, unit_of
from sweeperd.sweep.survey.facts import Facts, fingerprint
from sweeperd.sweep.survey.identity import Identity
from sweeperd.sweep.survey.instants import from_micros, to_micros
from sweeperd.sweep.survey.leaves import find_leaves
from sweeperd.sweep.survey.target import Leaf, make_target, table_of
from sweeperd.sweep.survey.trust import parse_trusted
from sweeperd.sweep.survey.units import wrong_unit

_SAMPLE_BLOCKS: Final = 64
_SAMPLE_ROWS: Final = 10_000


@dataclass(frozen=True)
class Survey:
    """One table at one cutoff.

    Attributes:
        clock_hold: Why the two clocks are in doubt, or None.
        sampled: Rows sampled.
        expired_share: Share of the sampled rows that are expired; 0 for an empty table.
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
    sampled: int
    expired_share: float
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
        return all(leaf.relation.lockable for leaf in self.leaves)


async def survey(
    connection: Connection, sweep: SweepConfig, database: DatabaseConfig, clock: Clock
) -> Survey:
    """Read all that a run must know; one short transaction with its own timeout.

    Raises:
        SweepError: Table, column, type, unit or privilege forbid the sweep.
    """
    async with reading(connection, Frame(f"sweeperd:{sweep.name}")):
        server, held = await read_clock(connection, clock, database)
        elapsed = clock.elapsed()
        root = await catalog.find_table(connection, sweep.table)
        cutoff = from_micros(server.cutoff)
        columns = await catalog.read_columns(connection, root.oid)
        column, unit, expired = await _expiry(connection, sweep, root, columns, cutoff)
        warnings: list[str] = []
        target = make_target(table_of(root, root, whole=root.kind == "p"), expired, sweep)
        leaves = await find_leaves(connection, root, column, target, warnings)
        if target.two_steps and not all(leaf.relation.lockable for leaf in leaves):
            raise SweepError(
                f"where or condition may read other tables, so rows of {root.shown} must be "
                "locked first, and this role may not",
                cure=root.grant("UPDATE"),
            )
        decides = fingerprint(sweep, unit, column.shown if column else "")
        facts = await _facts(connection, server, decides, root.oid, (elapsed, clock.boot()))
        found = Survey(
            server=server,
            root=root,
            column=column,
            unit=unit,
            cutoff=cutoff,
            target=target,
            leaves=tuple(leaves),
            key_columns=await catalog.primary_key(connection, root.oid),
            columns=tuple(columns),
            facts=facts,
            clock_hold=held,
            sampled=0,
            expired_share=0.0,
            survivors=True,
            search_path=await _search_path(connection, sweep, root, target, warnings),
            warnings=tuple(warnings),
        )
        return await _sampled(connection, found)


async def _search_path(
    connection: Connection, sweep: SweepConfig, root: Relation, target: Target, warnings: list[str]
) -> tuple[str, ...] | None:
    """Set the path under which statements on the table run, for this transaction; return it.

    Raises:
        SweepError: The operator's text uses what a stranger may replace.
    """
    text = sweep.condition or sweep.where
    if text is None:
        await set_search_path(connection, None)
        return None
    pieces = cut_at_cutoff(text) if sweep.condition else (text,)
    _, path = await parse_trusted(connection, root, target.table, pieces)
    warnings += path.warnings()
    return path.schemas


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
        SweepError: The numbers are no times in the sweep's unit.
    """
    blocks = sum(leaf.blocks for leaf in found.leaves)
    percent = 100.0 * _SAMPLE_BLOCKS / blocks if blocks > _SAMPLE_BLOCKS else 100.0
    numbers = found.unit.startswith("epoch")
    row = await _sample(connection, found.target, percent, values=numbers)
    if not row["rows"] and percent < 100.0:  # noqa: PLR2004 - thinned to nothing
        row = await _sample(connection, found.target, 100.0, values=numbers)
    name = found.column.name if found.column else ""
    if wrong := wrong_unit(found.unit, row["values"] or ()):
        raise SweepError(f"column {name} of {found.root.shown}: {wrong}", cure="correct unit")
    share = row["expired"] / row["rows"] if row["rows"] else 0.0
    survivors = share < 1.0
    served = [
        i for leaf in found.leaves for i in leaf.indexes if found.column and i.serves(found.column)
    ]
    if not survivors and served:
        survivors = not await fetchval(connection, sql.newest(found.target))
    return replace(found, sampled=row["rows"], expired_share=share, survivors=survivors)


async def _sample(connection: Connection, target: Target, percent: float, *, values: bool) -> Any:  # noqa: ANN401 - asyncpg's record
    """Sample rows; a ``where`` that some row makes fail is left out, which only holds more."""
    statement = sql.sample(target, percent=percent, limit=_SAMPLE_ROWS, values=values)
    try:
        async with savepoint(connection):
            return (await fetch(connection, statement))[0]
    except asyncpg.PostgresError as error:
        writes = isinstance(error, asyncpg.ReadOnlySQLTransactionError)
        if target.where is None or not (writes or classify(error) is Fault.ROW):
            raise
    return await _sample(connection, replace(target, where=None), percent, values=values)
