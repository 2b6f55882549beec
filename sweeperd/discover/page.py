"""A discovery as TOML that `sweeperd check` accepts, every sweep with its evidence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from sweeperd.config.values.durations import format_duration
from sweeperd.config.values.secret_places import HIDDEN
from sweeperd.config.values.wording import quoted
from sweeperd.discover.proposal import Discovery, Proposal
from sweeperd.log.safe_text import one_line

_LONGEST_NAME: Final = 40
_MOST_NAMES: Final = 20


def page(found: Discovery, database: str | None, dsn: str | None) -> Iterator[str]:
    """Yield the lines.

    Args:
        found: What to write down.
        database: The configured database the sweeps belong to; None for the only one.
        dsn: Written as that database, without password; None where it is configured already.
    """
    yield f"# {found.tables} tables looked at, {len(found.proposals)} that may expire"
    if dsn is not None:
        yield from ("", f"[databases.{database or 'app'}]")
        if HIDDEN in dsn:
            yield "# the password is left out: take it from a password_file"
        yield f"dsn = {quoted(dsn)}"
    taken: set[str] = set()
    for proposal in found.proposals:
        yield ""
        yield from _sweep(proposal, database, taken)
    if found.refusals:
        yield from ("", "# Looked at and left alone:")
    for refusal in found.refusals:
        yield _comment(f"{refusal.table.shown}.{refusal.column}: {refusal.reason}")
    if found.unreadable:
        names = ", ".join(found.unreadable[:_MOST_NAMES])
        more = len(found.unreadable) - _MOST_NAMES
        yield ""
        yield _comment(
            f"not readable by this role: {names}" + (f" and {more} more" if more > 0 else "")
        )


def _sweep(proposal: Proposal, database: str | None, taken: set[str]) -> Iterator[str]:
    finding, preset = proposal.finding, proposal.finding.preset
    table = finding.table
    yield _comment(finding.evidence)
    yield from _weight(proposal)
    if finding.column and finding.column not in table.leading:
        yield _comment(
            f"no index leads with {finding.column}: CREATE INDEX CONCURRENTLY ON {table.shown}"
            f" ({_quoted_column(finding.column)})"
        )
    if finding.question:
        yield _comment(f"To answer first: {finding.question}")
    yield f"[sweeps.{_name(proposal, taken)}]"
    if database is not None:
        yield f"database = {quoted(database)}"
    if preset is not None:
        yield f"preset = {quoted(preset.name)}"
    yield f"table = {quoted(table.shown)}"
    zone = (preset.unit if preset else proposal.unit) in {"timestamp", "date"}
    if preset is None:
        yield f"column = {quoted(_quoted_column(finding.column))}"
        yield f"unit = {quoted(proposal.unit)}"
        yield f"keep = {quoted('0s' if not finding.question else '30d')}"
    elif "keep" in preset.needs:
        keep = format_duration(preset.default_keep) if preset.default_keep else "30d"
        yield f"keep = {quoted(keep)}"
    if zone and (preset is None or "column_timezone" in preset.needs):
        yield 'column_timezone = "UTC"'
    if not proposal.enabled:
        yield "enabled = false"


def _weight(proposal: Proposal) -> Iterator[str]:
    found, table = proposal.look, proposal.finding.table
    if found is None:
        yield "# not sampled"
        return
    if not proposal.finding.column:
        yield _comment(
            f"about {table.tuples:,} rows, {_size(found.size)} (heap, TOAST, indexes); how many "
            "are expired, only its whole condition tells: sweeperd sweep --dry-run"
        )
        return
    if not found.rows:
        yield "# it has no rows now"
        return
    rows = max(table.tuples, found.rows)
    yield _comment(
        f"about {rows * found.expired // found.rows:,} of {rows:,} rows are expired, "
        f"{_size(found.dead_weight)} of {_size(found.size)} (heap, TOAST, indexes)"
    )


def _size(size: int) -> str:
    number = float(size)
    for unit in ("B", "kB", "MB"):
        if number < 1024:  # noqa: PLR2004 - the next unit's size
            return f"{number:.0f} {unit}"
        number /= 1024
    return f"{number:.1f} GB"


def _name(proposal: Proposal, taken: set[str]) -> str:
    table = proposal.finding.table
    parts = [table.name] if table.schema == "public" else [table.schema, table.name]
    base = re.sub(r"[^a-z0-9_-]+", "_", "_".join(parts).lower())[: _LONGEST_NAME - 4] or "table"
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{base}_{number}"
    taken.add(name)
    return name


def _quoted_column(name: str) -> str:
    return name if name.isidentifier() and name.islower() else '"' + name.replace('"', '""') + '"'


def _comment(text: str) -> str:
    return f"# {one_line(text)}"
