"""What `check` says of one sweep: what it would do, what stops it, what is unwise."""

from __future__ import annotations

from datetime import timedelta

from sweeperd.config.models import DatabaseConfig, SweepConfig
from sweeperd.host.clock import Clock
from sweeperd.postgres.catalog import quote_if_needed
from sweeperd.postgres.transaction import Connection, reading
from sweeperd.sweep.archive.table import find_archive
from sweeperd.sweep.plan.strategy import Choice, plan
from sweeperd.sweep.survey.dependents import Finding, surroundings
from sweeperd.sweep.survey.facts import unguarded
from sweeperd.sweep.survey.survey import Survey, survey


async def preflight(
    connection: Connection, sweep: SweepConfig, database: DatabaseConfig, clock: Clock
) -> list[Finding]:
    """Look at a sweep's table as a run would, and touch nothing.

    Raises:
        SweepError: What would stop the sweep.
    """
    found = await survey(connection, sweep, database, clock)
    choices = plan(sweep, found)
    findings = [Finding("ok", _what_goes(sweep, found))]
    findings += [Finding("warning", text) for text in found.warnings]
    findings += [
        Finding("error", f"held: {hold}") for hold in (found.clock_hold, found.zone_hold) if hold
    ]
    if found.sampled and not found.survivors:
        findings.append(
            Finding(
                "warning",
                f"none of {found.sampled} sampled rows would survive: a first run will be held "
                f"until sweeperd release {sweep.name}",
            )
        )
    if not found.lockable:
        findings.append(Finding("warning", _not_lockable(found)))
    findings += await surroundings(connection, sweep, found)
    await check_archive(connection, sweep, found)
    findings += advice(sweep, found, choices)
    findings += [
        Finding("warning", f"not guarded, for this role cannot read it: {name}")
        for name in unguarded(found.facts)
    ]
    return findings


def _not_lockable(found: Survey) -> str:
    closed = next(leaf.relation for leaf in found.leaves if not leaf.lockable)
    if closed.lockable:
        return (
            f"policies of {closed.shown} are for some commands only, so this role cannot skip rows "
            "that others lock; a policy FOR ALL lets it"
        )
    return f"without UPDATE this role cannot skip rows that others lock: {closed.grant('UPDATE')}"


async def check_archive(connection: Connection, sweep: SweepConfig, found: Survey) -> None:
    """Look at the archive's columns and privileges.

    Raises:
        SweepError: It would not take the rows.
    """
    if sweep.archive_to is not None and sweep.archive_file is None:
        async with reading(connection):
            await find_archive(connection, sweep, found.root, found.server.cutoff, "")


def _what_goes(sweep: SweepConfig, found: Survey) -> str:
    instant = found.cutoff - (sweep.keep or timedelta())
    if found.column is None:
        return (
            f"{found.root.shown}: rows go for which condition holds, :cutoff being the run's start"
        )
    column = f"{found.root.shown}.{found.column.name} ({found.column.shown}, {found.unit})"
    excluded = f"; {len(found.excluded)} partitions can hold none of them" if found.excluded else ""
    return f"{column}: rows before {instant:%Y-%m-%d %H:%M} UTC go{excluded}"


def advice(sweep: SweepConfig, found: Survey, choices: list[Choice]) -> list[Finding]:
    """Return what would make the sweep's runs cheaper: an index, a privilege."""
    findings = []
    column = found.column
    for choice in choices if column is not None else ():
        leaf = choice.leaf
        if column is None or any(index.serves(column) for index in leaf.indexes):
            continue
        findings.append(
            Finding(
                "warning",
                f"no index leads with {column.name} on {leaf.relation.shown}: each run reads "
                f"all of its {leaf.blocks} blocks; CREATE INDEX CONCURRENTLY ON "
                f"{leaf.relation.shown} ({quote_if_needed(column.name)})",
                "index",
            )
        )
    server = found.server
    capped = sweep.batch_target.total_seconds() > server.deadlock_seconds / 4
    if capped and not server.may_set_deadlock_timeout and sweep.max_statement is None:
        findings.append(
            Finding(
                "warning",
                f"batch_target is capped by the clients' shortest deadlock_timeout "
                f"({server.deadlock_seconds:g} s); check --grants tells the right that frees it",
            )
        )
    return findings
