"""What a run learns before its first batch: server, table, cutoff, sample, doubts, plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sweeperd.config.models import DatabaseConfig, SweepConfig
from sweeperd.config.values.sql_expression import cut_at_cutoff, expression_pieces
from sweeperd.errors import SweepError
from sweeperd.host.clock import Clock
from sweeperd.postgres import catalog
from sweeperd.postgres.catalog import (
    PARAMETER_GRANTS,
    Column,
    Relation,
    Server,
    quote_if_needed,
)
from sweeperd.postgres.catalog_reads import CatalogReads, Question
from sweeperd.postgres.names import column_readings
from sweeperd.postgres.sql import catalog as sql_catalog
from sweeperd.postgres.sql import rows as sql
from sweeperd.postgres.sql.expired import Condition, Expired
from sweeperd.postgres.sql.target import Target
from sweeperd.postgres.sql.zones import set_zone
from sweeperd.postgres.transaction import (
    Connection,
    fetchval,
    major_version,
    reading,
    set_search_path,
)
from sweeperd.sweep.outcome.facts import Facts
from sweeperd.sweep.outcome.usual_load import Amount
from sweeperd.sweep.survey.cascades import refuse_cascades_back
from sweeperd.sweep.survey.clock import read_clock
from sweeperd.sweep.survey.estimates import Estimates, expected_rows
from sweeperd.sweep.survey.expiry import expired_rows, unit_of
from sweeperd.sweep.survey.facts import fingerprint
from sweeperd.sweep.survey.frame import table_frame
from sweeperd.sweep.survey.identity import Identity
from sweeperd.sweep.survey.instants import from_micros, to_micros
from sweeperd.sweep.survey.leaves import find_leaves
from sweeperd.sweep.survey.other_rows import policies_read_other_rows, reads_other_rows
from sweeperd.sweep.survey.parsed_expression import ParsedExpression
from sweeperd.sweep.survey.preset_check import require_preset
from sweeperd.sweep.survey.sample import SAMPLE_ROWS, Sample, sampled_percent, take_sample
from sweeperd.sweep.survey.target import Leaf, make_target, table_of
from sweeperd.sweep.survey.trust import TrustedPath, parse_trusted
from sweeperd.sweep.survey.units import wrong_unit
from sweeperd.sweep.survey.zone_check import Sampling, ZoneCheck
from sweeperd.sweep.survey.zones import repeated_hour, zone_hold


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
        estimates: Expired rows that the planner expects, by leaf, where that decides anything.
        excluded: Leaves that hold no expired row now, by their bounds or constraints; they are not
            among ``leaves``.
        identity: What must not change while the run is under way.
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
    estimates: Estimates
    excluded: tuple[Leaf, ...]
    identity: Identity

    @property
    def all_leaves(self) -> tuple[Leaf, ...]:
        """The leaves, those that are excluded now at the end."""
        return self.leaves + self.excluded

    @property
    def lockable(self) -> bool:
        """Whether this role may lock rows (SELECT ... FOR UPDATE needs UPDATE)."""
        return all(leaf.lockable for leaf in self.leaves)

    def refuse_waits(self) -> None:
        """Refuse tables whose locked rows cannot be skipped: a wait could cost a client its work.

        Raises:
            SweepError: With what lets rows be skipped, or waited for.
        """
        closed = next((one for one in self.leaves if not (one.lockable and one.one_heap)), None)
        if closed is None:
            return
        milliseconds = self.server.deadlock_seconds * 1000
        cure = f"GRANT SET ON PARAMETER deadlock_timeout TO {quote_if_needed(self.server.role)}"
        if self.server.may_set_deadlock_timeout or self.server.version < PARAMETER_GRANTS:
            cure = "a longer deadlock_timeout for all clients"
        if not closed.lockable:
            cure = f"{closed.relation.grant('UPDATE')}, or {cure}"
        raise SweepError(
            f"clients look for deadlocks after {milliseconds:g} ms (deadlock_timeout), and rows of "
            f"{closed.relation.shown} that they lock cannot be skipped",
            cure=cure,
        )


@dataclass(frozen=True)
class _Known:
    """What the catalogues say of any table, before the sweep's own settings are looked at.

    Attributes:
        server: The server; its clock is the cutoff.
        clock_hold: Why the two clocks are in doubt, or None.
        elapsed: The host's elapsed clock when the cutoff was read.
        identity: The table and all below it, looked at before anything else of them is read.
        root: The table.
        columns: Its columns.
    """

    server: Server
    clock_hold: str | None
    elapsed: float
    identity: Identity
    root: Relation
    columns: list[Column]


async def _read_catalog(
    reads: CatalogReads, sweep: SweepConfig, database: DatabaseConfig, clock: Clock
) -> _Known:
    """Read the catalogues in few messages.

    Raises:
        SweepError: There is no such table, or it is not the one of the sweep's preset.
    """
    hold = await read_clock(reads, clock, database, catalog.relations_named(sweep.table))
    elapsed = clock.elapsed()
    oid = await catalog.find_oid(reads, sweep.table)
    identity = await Identity.read(reads.connection, sweep, oid)
    await reads.ask_ahead(*await _questions(reads, sweep, oid))
    server = await catalog.read_server(reads)
    root = await catalog.read_relation(reads, oid)
    columns = await catalog.read_columns(reads, oid)
    require_preset(sweep, root, columns)
    return _Known(server, hold, elapsed, identity, root, columns)


async def survey(
    connection: Connection,
    sweep: SweepConfig,
    database: DatabaseConfig,
    clock: Clock,
    reads_by: Callable[[Connection], CatalogReads] = CatalogReads,
) -> Survey:
    """Read all that a run must know; one short transaction with its own timeout.

    Args:
        connection: In no transaction.
        sweep: The sweep.
        database: Its database.
        clock: The host's clocks.
        reads_by: Makes what reads the catalogues.

    Raises:
        SweepError: Table, column, type, unit or privilege forbid the sweep.
    """
    # the zone is set once the server is known to have it
    async with reading(connection, replace(table_frame(sweep), time_zone=None)):
        reads = reads_by(connection)
        known = await _read_catalog(reads, sweep, database, clock)
        server, root, columns = known.server, known.root, known.columns
        cutoff = from_micros(server.cutoff)
        zone_doubt = await zone_hold(connection, sweep, cutoff)
        if sweep.expression_timezone is not None:
            await connection.execute(set_zone(sweep.expression_timezone))
        column, unit, expired = await _expiry(reads, sweep, root, columns, cutoff)
        warnings: list[str] = []
        target = make_target(table_of(root, root, whole=root.kind == "p"), expired, sweep)
        cascades = await refuse_cascades_back(connection, root)
        obey = sweep.row_security == "obey"
        target = replace(target, cascades=cascades)
        leaves = await find_leaves(reads, root, column, target, warnings, obey=obey)
        if cascades and not all(leaf.one_heap for leaf in leaves):
            await refuse_cascades_back(connection, root, one_heap=False)
        sampling = Sampling(sampled_percent(leaves), SAMPLE_ROWS)
        check = ZoneCheck(connection, target, columns, cutoff=server.cutoff, sampling=sampling)
        decides = fingerprint(sweep, unit, column.shown if column else "")
        facts = _facts(server, decides, root.oid, (known.elapsed, clock.boot()))
        key_columns = await catalog.primary_key(reads, root.oid)
        by_policy = obey and await _policies_read_other_rows(connection, leaves)
        # from here on rows are read, under the path that statements on the table have
        parsed, path = await _read_text(connection, sweep, root, target)
        if parsed is not None and sweep.column_timezone is None:
            await check.require_same("condition" if sweep.condition else "where", parsed)
        warnings += path.warnings() if path is not None else []
        if by_policy or (parsed is not None and reads_other_rows(parsed)):
            leaves = [leaf.in_two_steps() for leaf in leaves]
            _refuse_unlockable(leaves)
        sample = await _sampled(connection, root, column, unit, leaves)
        expected = await expected_rows(
            connection, sweep, column, root=root.oid, target=target, leaves=leaves
        )
        return Survey(
            server=server,
            root=root,
            column=column,
            unit=unit,
            cutoff=cutoff,
            target=target,
            leaves=tuple(one for one in leaves if one.relation.oid not in expected.excluded),
            key_columns=key_columns,
            columns=tuple(columns),
            facts=facts,
            clock_hold=known.clock_hold,
            zone_hold=zone_doubt,
            repeated_hour=repeated_hour(sweep, cutoff),
            sampled=sample.rows,
            expired=sample.amount,
            survivors=sample.amount.share < 1.0
            or await _newest_survives(connection, column, leaves),
            search_path=path.schemas if path is not None else None,
            warnings=tuple(warnings),
            estimates=expected.rows,
            excluded=tuple(one for one in leaves if one.relation.oid in expected.excluded),
            identity=known.identity.of([leaf.relation for leaf in leaves], columns),
        )


async def _policies_read_other_rows(connection: Connection, leaves: Sequence[Leaf]) -> bool:
    """Whether a policy that is obeyed may look at other rows."""
    secured = [leaf.relation.oid for leaf in leaves if leaf.relation.row_security]
    return bool(secured) and await policies_read_other_rows(connection, secured)


def _refuse_unlockable(leaves: Sequence[Leaf]) -> None:
    """Refuse what may look at other rows where rows cannot be locked first.

    Raises:
        SweepError: With what the role lacks.
    """
    closed = next((leaf.relation for leaf in leaves if not leaf.lockable), None)
    if closed is None:
        return
    raise SweepError(
        f"where, condition or a policy may read other rows, so rows of {closed.shown} must be "
        "locked first, and this role may not",
        cure="give the table policies FOR ALL only: a row that a policy FOR UPDATE hides "
        "cannot be locked"
        if closed.policies_by_command and closed.lockable
        else closed.grant("UPDATE"),
    )


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
    pieces = expression_pieces(sweep.where, sweep.condition)
    if pieces is None:
        await set_search_path(connection, None)
        return None, None
    return await parse_trusted(connection, root, target.table, pieces)


def _facts(server: Server, decides: str, oid: int, host: tuple[float, str | None]) -> Facts:
    """Return what the next run compares itself with; ``host`` is its elapsed clock and boot."""
    return Facts(
        fingerprint=decides,
        cutoff=server.cutoff,
        elapsed=host[0],
        boot=host[1],
        system_identifier=server.system_identifier,
        timeline=server.timeline,
        wal=server.wal,
        oid=oid,
        next_xid=server.next_xid,
    )


async def _questions(reads: CatalogReads, sweep: SweepConfig, oid: int) -> list[Question]:
    """Return what is asked of each table, and of the server where the role may."""
    asked: list[Question] = [
        (sql_catalog.TABLE, (oid,)),
        (sql_catalog.COLUMNS, (oid,)),
        (sql_catalog.PRIMARY_KEY, (oid,)),
        (sql_catalog.CITUS, ()),
        (sql_catalog.HYPERTABLES_READABLE, ()),
        (sql_catalog.TIMESCALE, (oid, [])),
    ]
    names = column_readings(sweep.column) if sweep.column is not None else []
    asked += [(sql_catalog.INDEXES, ([oid], name)) for name in names]
    if major_version(reads.connection) >= PARAMETER_GRANTS:
        asked.append((sql_catalog.MAY_SET_DEADLOCK_TIMEOUT, ()))
    if (await reads.row(sql_catalog.SERVER))["identifiable"]:
        asked.append((sql_catalog.SYSTEM_IDENTIFIER, ()))
    return asked


async def _expiry(
    reads: CatalogReads,
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
    ordered = unit == "iso8601" and await catalog.sorts_as_time(reads, column)
    expired = expired_rows(
        sweep, column=column.name, type_name=type_name, cutoff=cutoff, time_ordered=ordered
    )
    return column, unit, expired


async def _sampled(
    connection: Connection, root: Relation, column: Column | None, unit: str, leaves: Sequence[Leaf]
) -> Sample:
    """Sample the table.

    Raises:
        SweepError: The numbers are not times in the sweep's unit.
    """
    sample = await take_sample(connection, leaves, values=unit.startswith("epoch"))
    if wrong := wrong_unit(unit, sample.values):
        name = column.name if column else ""
        raise SweepError(f"column {name} of {root.shown}: {wrong}", cure="correct unit")
    return sample


async def _newest_survives(
    connection: Connection, column: Column | None, leaves: Sequence[Leaf]
) -> bool:
    """Whether the greatest value of a leaf, found by an index, is not expired."""
    for leaf in reversed(leaves):
        served = column and any(index.serves(column) for index in leaf.indexes)
        if served and await fetchval(connection, sql.newest(leaf.target)) is False:
            return True
    return False
