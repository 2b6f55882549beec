"""What the next run of one sweep would do, and why; nothing is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from sweeperd.config.models import DatabaseConfig, SweepConfig
from sweeperd.errors import SweeperdError
from sweeperd.host.clock import Clock
from sweeperd.postgres.catalog_reads import CatalogReads
from sweeperd.postgres.transaction import Connection
from sweeperd.sweep.checkup import advice, check_archive
from sweeperd.sweep.execute.batch import BatchLimits
from sweeperd.sweep.execute.partitions import find_past
from sweeperd.sweep.outcome.lag import RetentionLag
from sweeperd.sweep.plan.strategy import Choice, plan
from sweeperd.sweep.preview.amount import Amount, Amounts, total
from sweeperd.sweep.preview.autovacuum import DeadTuples, dead_tuples
from sweeperd.sweep.preview.cascades import CascadeLoss, cascade_losses
from sweeperd.sweep.preview.forecast import Forecast, forecast, past_pace
from sweeperd.sweep.preview.granted import AsIfGranted
from sweeperd.sweep.preview.obstacles import (
    ADVICE_KIND,
    Obstacle,
    Standing,
    of_findings,
    of_health,
    of_settings,
    of_table,
)
from sweeperd.sweep.preview.size import Size, read_sizes
from sweeperd.sweep.preview.statements import Example, batch_statements, examples
from sweeperd.sweep.survey.dependents import surroundings
from sweeperd.sweep.survey.health import look_at_health
from sweeperd.sweep.survey.retention_lag import LagProbe, retention_lag
from sweeperd.sweep.survey.survey import Survey, survey

_EXCLUDED: Final = "its bounds or constraints exclude expired rows: no run goes through it"


@dataclass(frozen=True)
class LeafPreview:
    """One leaf.

    Attributes:
        choice: How it is swept.
        size: Its size.
        amount: What of it is expired.
    """

    choice: Choice
    size: Size
    amount: Amount

    @property
    def oid(self) -> int:
        """Its OID."""
        return self.choice.leaf.relation.oid


@dataclass(frozen=True)
class TablePreview:
    """What was seen of a sweep's table.

    Attributes:
        table: The table, qualified.
        cutoff: The database's instant.
        leaves: What is swept.
        partitions: Leaves that go as a whole, qualified.
        lag: How far behind the sweep is; None where its condition does not tell.
        forecast: What the expired rows take; None when nobody knows how many there are.
        cascades: What other tables lose.
        dead: Dead tuples, leaf by leaf.
        statements: The SQL of a batch.
        advice: What would make the runs cheaper.
        examples: A few expired rows.
    """

    table: str
    cutoff: datetime
    leaves: tuple[LeafPreview, ...]
    partitions: tuple[str, ...]
    lag: RetentionLag | None
    forecast: Forecast | None
    cascades: tuple[CascadeLoss, ...]
    dead: tuple[DeadTuples, ...]
    statements: tuple[str, ...]
    advice: tuple[str, ...]
    examples: tuple[Example, ...]

    @property
    def amount(self) -> Amount:
        """What is expired of the whole table."""
        return total([leaf.amount for leaf in self.leaves])

    @property
    def size(self) -> Size:
        """The size of the whole table."""
        size = Size()
        for leaf in self.leaves:
            size = size.with_more(leaf.size)
        return size


@dataclass(frozen=True)
class Preview:
    """What the next run of one sweep would do.

    Attributes:
        sweep: Its settings.
        table: What was seen of its table; None when that could not be looked at.
        obstacles: What stands in the way.
    """

    sweep: SweepConfig
    table: TablePreview | None
    obstacles: tuple[Obstacle, ...]

    @property
    def will_delete(self) -> bool:
        """Whether nothing that is known keeps the next run from deleting."""
        return not any(one.stops for one in self.obstacles)


async def preview(
    connection: Connection,
    sweep: SweepConfig,
    database: DatabaseConfig,
    clock: Clock,
    standing: Standing,
    *,
    exact: bool = False,
) -> Preview:
    """Look at a sweep's table as a run would; a table that cannot be swept is an obstacle.

    Args:
        connection: In no transaction.
        sweep: The sweep.
        database: Its database.
        clock: The host's clocks.
        standing: What is known of it beside its table.
        exact: Whether expired rows are counted, within a minute.
    """
    obstacles = list(of_settings(sweep, standing))
    try:
        granted: list[AsIfGranted] = []

        def reads_by(connection: Connection) -> CatalogReads:
            granted.append(AsIfGranted(connection))
            return granted[0]

        found = await survey(connection, sweep, database, clock, reads_by)
        missing = granted[0].missing(found.leaves)
        obstacles += of_table(sweep, database, found, standing, missing)
        obstacles += of_health(await look_at_health(connection, database.health))
        seen, more = await _look(connection, sweep, found, standing, exact=exact)
    except SweeperdError as error:
        return Preview(sweep, None, (*obstacles, Obstacle("error", True, str(error))))
    return Preview(sweep, seen, (*obstacles, *more))


async def _look(
    connection: Connection,
    sweep: SweepConfig,
    found: Survey,
    standing: Standing,
    *,
    exact: bool,
) -> tuple[TablePreview, list[Obstacle]]:
    findings = await surroundings(connection, sweep, found)
    probe = LagProbe.of(sweep, found, standing.memory)
    partitions, found = await _without_past(connection, sweep, found)
    choices = plan(sweep, found)
    whole = replace(found, leaves=found.all_leaves, excluded=())
    idle = [Choice(leaf, "none", _EXCLUDED, None) for leaf in found.excluded]
    findings += advice(sweep, found, choices)
    obstacles = list(of_findings(findings))
    try:
        await check_archive(connection, sweep, found)
    except SweeperdError as error:
        obstacles.append(Obstacle("archive", True, str(error)))
    if BatchLimits.of(sweep.name, sweep, found.server).skip_locked_from_start:
        try:
            found.refuse_waits()
        except SweeperdError as error:
            obstacles.append(Obstacle("error", True, str(error)))
    leaves = await _look_at_leaves(connection, sweep, whole, choices + idle, exact=exact)
    known = {leaf.oid: leaf.amount for leaf in leaves}
    cascades = await cascade_losses(connection, found, total(list(known.values())))
    seen = TablePreview(
        table=found.root.shown,
        cutoff=found.cutoff,
        leaves=tuple(leaves),
        partitions=partitions,
        lag=await retention_lag(connection, probe) if probe is not None else None,
        forecast=forecast(
            sweep,
            found.server,
            [(leaf.choice, leaf.amount) for leaf in leaves if leaf.choice not in idle],
            toast_bytes=sum(leaf.size.toast for leaf in leaves),
            cascaded=sum(one.rows or 0.0 for one in cascades),
            past=past_pace(standing.history),
            learned=standing.memory.batch_sizes,
        ),
        cascades=tuple(cascades),
        dead=tuple(await dead_tuples(connection, whole, known)),
        statements=tuple(batch_statements(choices)),
        advice=tuple(one.text for one in findings if one.kind == ADVICE_KIND),
        examples=tuple(await examples(connection, sweep, found)),
    )
    return seen, obstacles


async def _look_at_leaves(
    connection: Connection,
    sweep: SweepConfig,
    found: Survey,
    choices: Sequence[Choice],
    *,
    exact: bool,
) -> list[LeafPreview]:
    sizes = await read_sizes(connection, found)
    amounts = Amounts(connection, sweep, found, sizes)
    known = await (amounts.exact() if exact else amounts.estimated())
    by_oid = {choice.leaf.relation.oid: choice for choice in choices}
    return [
        LeafPreview(choice, sizes.get(oid, Size()), known[oid]) for oid, choice in by_oid.items()
    ]


async def _without_past(
    connection: Connection, sweep: SweepConfig, found: Survey
) -> tuple[tuple[str, ...], Survey]:
    """Return the partitions that a run would remove whole, and the table without them."""
    if sweep.partitions == "delete" or found.root.kind != "p":
        return (), found
    gone = {one.oid for one in await find_past(connection, found.root, found.target.column)}
    names = tuple(leaf.relation.shown for leaf in found.leaves if leaf.relation.oid in gone)
    left = tuple(leaf for leaf in found.leaves if leaf.relation.oid not in gone)
    return names, replace(found, leaves=left)
