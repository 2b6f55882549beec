"""From findings to proposals: samples within a bound of time, bytes to win, and the order."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from sweeperd.discover.judge import Finding, Refusal, judge
from sweeperd.discover.tables import Look, Table, look, read_tables, weigh
from sweeperd.postgres.transaction import Connection

_DAY: Final = 86_400.0
_FARTHEST: Final = 400 * _DAY  # beyond it no session or token is likely to live
_LONGEST: Final = 10.0  # seconds for all samples together
_MOST_SAMPLES: Final = 200
# the largest unit first: a number of milliseconds is far off as seconds, and the reverse is 1970
_UNITS: Final = ("epoch_us", "epoch_ms", "epoch_s")


@dataclass(frozen=True)
class Proposal:
    """A sweep to write.

    Attributes:
        finding: What it is about.
        look: What the sample showed; None where there was none.
        unit: What the column holds.
    """

    finding: Finding
    look: Look | None
    unit: str

    @property
    def enabled(self) -> bool:
        """Whether there is nothing left to ask."""
        return not self.finding.question


@dataclass(frozen=True)
class Discovery:
    """All that was found.

    Attributes:
        tables: How many were looked at.
        unreadable: Tables that this role may not read.
        proposals: The most bytes to win first.
        refusals: What looks like an expiry and is none.
    """

    tables: int
    unreadable: tuple[str, ...]
    proposals: tuple[Proposal, ...]
    refusals: tuple[Refusal, ...]


async def discover(connection: Connection, schema: str | None = None) -> Discovery:
    """Look at a database; nothing is written, and time and rows read are bounded."""
    tables = await read_tables(connection, schema)
    judged = [one for table in tables if table.readable for one in judge(table)]
    findings = [one for one in judged if isinstance(one, Finding)]
    refusals = [one for one in judged if isinstance(one, Refusal)]
    ends = time.monotonic() + _LONGEST
    proposals: list[Proposal] = []
    for number, finding in enumerate(_largest_first(findings)):
        sampled = number < _MOST_SAMPLES and time.monotonic() < ends
        proposal = await _propose(connection, finding) if sampled else _unsampled(finding)
        if proposal is not None:
            proposals.append(proposal)
    proposals.sort(key=lambda one: one.look.dead_weight if one.look else 0, reverse=True)
    return Discovery(len(tables), _unreadable(tables), tuple(proposals), tuple(refusals))


def _unreadable(tables: Sequence[Table]) -> tuple[str, ...]:
    return tuple(table.shown for table in tables if not table.readable)


def _largest_first(findings: list[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda one: one.table.tuples, reverse=True)


def _unsampled(finding: Finding) -> Proposal:
    question = finding.question or "it was not sampled in time: is it what it looks like?"
    return Proposal(replace(finding, question=question), None, finding.unit or "epoch_s")


async def _propose(connection: Connection, finding: Finding) -> Proposal | None:
    """Sample a finding's column; None for numbers that are no times."""
    preset = finding.preset
    if not finding.column:
        # a preset's condition: what it would read is more than a sample
        return Proposal(finding, await weigh(connection, finding.table), "")
    keep = preset.keep or preset.default_keep if preset else None
    for unit in (finding.unit,) if finding.unit else _UNITS:
        found = await look(
            connection,
            finding.table,
            finding.column,
            unit,
            zone=(preset.column_timezone if preset else None) or "UTC",
            keep=keep.total_seconds() if keep else 0.0,
        )
        if finding.unit or (found and found.times and _plausible(found)):
            return Proposal(_doubted(finding, found), found, unit)
    return None


def _plausible(found: Look) -> bool:
    lowest, highest = -20 * 365 * _DAY, 20 * 365 * _DAY
    return (
        found.first is not None
        and found.last is not None
        and (lowest < found.first and found.last < highest)
    )


def _doubted(finding: Finding, found: Look | None) -> Finding:
    """Return the finding with the question that its sample raises, if it raises one."""
    if finding.question:
        return finding
    question = ""
    if found is None:
        question = "it could not be sampled in time: is it what it looks like?"
    elif finding.preset is None and not found.times:
        question = "it has no rows to tell by: is it what it looks like?"
    elif finding.preset is None and found.last is not None and found.last > _FARTHEST:
        question = "some rows end in more than a year: is it what it looks like?"
    elif found.times and not _plausible(found):
        question = "some of its times are more than 20 years away: is it what it looks like?"
    elif finding.preset is None and found.times == found.expired:
        question = "each sampled row is past: does anybody use the table?"
    return replace(finding, question=question)
