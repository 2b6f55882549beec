"""A plan for a person: short lines that fit a narrow terminal, whole lines in a pipe."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator
from typing import Final

import click

from sweeperd.cli.terminal import safe
from sweeperd.config.files.differences import SweepChange
from sweeperd.log.event import counted
from sweeperd.sweep.preview.amount import Amount
from sweeperd.sweep.preview.forecast import Forecast
from sweeperd.sweep.preview.preview import Preview, TablePreview
from sweeperd.sweep.preview.size import Size

_NARROWEST: Final = 30
_LABEL: Final = 11
_INDENT: Final = "  "
_MOST_LEAVES: Final = 20
_HOWS: Final = {
    "counted": "counted",
    "statistics": "by the statistics of ANALYZE",
    "sampled": "by a sample",
}

Line = tuple[str, str]  # a label and its text


def plan_lines(preview: Preview, change: SweepChange | None, *, first: bool) -> None:
    """Print one sweep's plan.

    Args:
        preview: What its next run would do.
        change: What the configuration changes of the one in force; None where nothing is compared.
        first: Whether no other plan was printed before.
    """
    if not first:
        click.echo()
    name = safe(preview.sweep.name)
    verdict, colour = _verdict(preview)
    click.echo(f"{_styled(name, bold=True)}: {_styled(verdict, fg=colour)}")
    _print(_obstacles(preview))
    if change is not None:
        _print(_changes(change))
    if preview.table is not None:
        _print(_table(preview.table))


def _verdict(preview: Preview) -> tuple[str, str]:
    """Return what the next run comes to, and its colour."""
    if not preview.will_delete:
        return "will delete nothing", "yellow"
    amount = preview.table.amount if preview.table is not None else None
    if amount is not None and amount.method == "counted" and not amount.expired:
        return "has nothing to delete", "green"
    return "will delete", "green"


def removed_lines(names: Iterable[str]) -> None:
    """Print the sweeps that a new configuration removes."""
    for name in names:
        click.echo(f"\n{_styled(safe(name), bold=True)}: removed by this configuration")


def _styled(text: str, *, bold: bool | None = None, fg: str | None = None) -> str:
    """Colour a text; click takes it out in a pipe, and NO_COLOR (no-color.org) everywhere."""
    return text if os.environ.get("NO_COLOR") else click.style(text, bold=bold, fg=fg)


def _print(lines: Iterable[Line]) -> None:
    width = None
    if sys.stdout.isatty():
        width = max(shutil.get_terminal_size().columns, _NARROWEST)
    for label, told in lines:
        head, text = f"{_INDENT}{label:{_LABEL}}", safe(told)
        if width is None:
            click.echo(f"{head}{text}")
            continue
        behind = _INDENT + " " * _LABEL if width >= 2 * _NARROWEST else _INDENT * 2
        for line in textwrap.wrap(
            text,
            width,
            initial_indent=head,
            subsequent_indent=behind,
            break_on_hyphens=False,
        ):
            click.echo(line)


def _obstacles(preview: Preview) -> Iterator[Line]:
    for one in sorted(preview.obstacles, key=lambda one: not one.stops):
        yield ("stops" if one.stops else "note"), one.text


def _changes(change: SweepChange) -> Iterator[Line]:
    if change.change != "changed":
        yield "change", change.change
    for key in change.keys:
        former, new = key.former or "not set", key.new or "not set"
        yield "change", f"{key.key}: {former} -> {new}"


def _table(seen: TablePreview) -> Iterator[Line]:
    yield "table", f"{seen.table}, {_size(seen.size)}"
    yield "cutoff", f"{seen.cutoff:%Y-%m-%d %H:%M:%S} UTC"
    yield "expired", _expired(seen.amount)
    if seen.lag is not None and seen.lag.oldest is not None:
        age = _age(seen.lag.seconds or 0.0)
        yield "oldest", f"expired at {seen.lag.oldest:%Y-%m-%d %H:%M:%S} UTC, {age} ago"
    yield from _leaves(seen)
    if seen.forecast is not None:
        yield "takes", _forecast(seen.forecast)
    yield from _effects(seen)
    yield from (("advice", text) for text in seen.advice)
    yield from (("sql", statement) for statement in seen.statements)
    for example in seen.examples:
        expires = f", {example.expires}" if example.expires is not None else ""
        yield "example", f"{example.key}{expires}"


def _leaves(seen: TablePreview) -> Iterator[Line]:
    for leaf in seen.leaves[:_MOST_LEAVES]:
        where = f"{leaf.choice.leaf.relation.shown}: " if len(seen.leaves) > 1 else ""
        yield "strategy", f"{where}{leaf.choice.strategy}: {leaf.choice.reason}"
    if len(seen.leaves) > _MOST_LEAVES:
        yield "strategy", f"and {len(seen.leaves) - _MOST_LEAVES} leaves more; --json has all"
    for name in seen.partitions:
        yield "partition", f"{name} goes as a whole"


def _effects(seen: TablePreview) -> Iterator[Line]:
    """Yield what a run does to other tables, and leaves behind."""
    for one in seen.cascades:
        rows = "an unknown number of" if one.rows is None else f"about {one.rows:,.0f}"
        yield "cascade", f"{one.table} loses {rows} rows, by the foreign key {one.key}"
    for dead in seen.dead[:_MOST_LEAVES]:
        will = "will be" if dead.is_triggered else "will not be"
        yield "autovacuum", f"{will} triggered for {dead.table}: {dead.reason}"


def _expired(amount: Amount) -> str:
    if amount.expired is None:
        return f"unknown: {amount.reason}"
    about = "" if amount.method == "counted" else "about "
    of = f" of {amount.rows:,.0f}" if amount.rows is not None else ""
    why = f"; {amount.reason}" if amount.reason else ""
    return f"{about}{amount.expired:,.0f}{of} rows ({_HOWS[amount.method]}{why})"


def _forecast(known: Forecast) -> str:
    runs = f" in {known.runs} runs" if known.runs > 1 else ""
    return (
        f"about {counted(known.batches, 'batch')}, {_age(known.seconds)}{runs}, up to "
        f"{_bytes(known.wal_bytes)} of WAL (by {known.basis})"
    )


def _size(size: Size) -> str:
    toast = f", TOAST {_bytes(size.toast)}" if size.toast else ""
    return f"heap {_bytes(size.heap)}, indexes {_bytes(size.indexes)}{toast}"


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1024:  # noqa: PLR2004 - as PostgreSQL's pg_size_pretty counts
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} TB"


def _age(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.1f} s"
