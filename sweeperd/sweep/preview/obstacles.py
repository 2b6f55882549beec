"""Everything that will stand in the way of a sweep's next run."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sweeperd.config.models import DatabaseConfig, SweepConfig
from sweeperd.sweep.guards.decide import find_holds, unreleased
from sweeperd.sweep.guards.hold_file import Hold
from sweeperd.sweep.guards.told import hold_sentence
from sweeperd.sweep.outcome.memory import SweepMemory
from sweeperd.sweep.survey.dependents import Finding
from sweeperd.sweep.survey.facts import unguarded
from sweeperd.sweep.survey.health import Signal
from sweeperd.sweep.survey.survey import Survey

ADVICE_KIND: Final = "index"
# what is told elsewhere in a preview, with numbers
_TOLD_KINDS: Final = frozenset({ADVICE_KIND, "cascade"})


@dataclass(frozen=True)
class Obstacle:
    """One thing that stands in the way.

    Attributes:
        kind: What it is: disabled, dry_run, held, guard, window, read_only, privilege, before,
            health, limit, archive, or what a table has: trigger, foreign_key, publication,
            row_security, condition, table; error when the table cannot be swept at all.
        stops: Whether the next run deletes nothing while it is there.
        text: What it is, and the cure.
    """

    kind: str
    stops: bool
    text: str


@dataclass(frozen=True)
class Standing:
    """What is known of a sweep beside its table.

    Attributes:
        now: The host's wall time.
        hold: The hold in force; None when it is not held.
        released: What the guards may find, because it was released.
        memory: What the last run left.
        history: Reports of past runs, oldest first.
        after: Sweeps that run before this one.
    """

    now: datetime
    hold: Hold | None
    released: Collection[str]
    memory: SweepMemory
    history: Sequence[Mapping[str, object]] = ()
    after: tuple[str, ...] = ()


def of_settings(sweep: SweepConfig, standing: Standing) -> Iterator[Obstacle]:
    """Yield what the configuration and the state directory say."""
    if not sweep.enabled:
        yield Obstacle("disabled", True, "enabled = false: the daemon never runs it")
    if sweep.dry_run:
        yield Obstacle("dry_run", True, "dry_run = true: rows are counted, none is deleted")
    if standing.hold is not None:
        yield Obstacle("held", True, hold_sentence(standing.hold))
    window = sweep.window
    if window is not None and not window.contains(standing.now):
        opens = window.next_open(standing.now)
        yield Obstacle("window", True, f"its window opens at {opens:%Y-%m-%d %H:%M} UTC")
    for name in standing.after:
        yield Obstacle("before", False, f"it waits for the sweep {name} while that has work")
    if sweep.max_rows is not None:
        yield Obstacle("limit", False, f"max_rows: a run ends after {sweep.max_rows} rows")
    if sweep.rate_limit is not None:
        yield Obstacle("limit", False, f"rate_limit: {sweep.rate_limit} rows per second")


def of_table(
    sweep: SweepConfig,
    database: DatabaseConfig,
    found: Survey,
    standing: Standing,
    grants: Sequence[str],
) -> Iterator[Obstacle]:
    """Yield what the server and the table say.

    Args:
        sweep: The sweep.
        database: Its database.
        found: Its table.
        standing: What is known beside that.
        grants: What the role lacks.
    """
    server = found.server
    if server.in_recovery or server.read_only:
        yield Obstacle("read_only", True, "the server is read-only; a run waits until it is not")
    for grant in grants:
        stops = "DELETE" in grant
        yield Obstacle("privilege", stops, f"the role {server.role} lacks a privilege: {grant}")
    held = unreleased(find_holds(sweep, database, found, standing.memory), standing.released)
    for kind, reason in held.items():
        yield Obstacle("guard", True, f"the guard ({kind}) will hold it: {reason}")
    if found.repeated_hour:
        yield Obstacle("guard", True, found.repeated_hour)
    for text in found.warnings:
        yield Obstacle("row_security" if "row security" in text else "table", False, text)
    for name in unguarded(found.facts):
        yield Obstacle("privilege", False, f"not guarded, for this role cannot read it: {name}")


def of_health(signals: Sequence[Signal]) -> Iterator[Obstacle]:
    """Yield what makes sweeps wait for the server, or would if it could be told."""
    for signal in signals:
        text = signal.reason or signal.unknown
        if text is not None:
            yield Obstacle("health", signal.stops is not None, text)


def of_findings(findings: Sequence[Finding]) -> Iterator[Obstacle]:
    """Yield what was found on the table, but for what is told elsewhere."""
    for finding in findings:
        if finding.level == "error":
            yield Obstacle(finding.kind, True, finding.text)
        elif finding.kind not in _TOLD_KINDS:
            yield Obstacle(finding.kind, False, finding.text)
