"""How statuses look: a table where there is room for it, else a few lines a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sweeperd.cli.terminal import safe
from sweeperd.daemon.status import SweepStatus

_TABLE_WIDTH: Final = 100
_COLOURS: Final = {
    "running": "cyan",
    "waiting": "yellow",
    "held": "red",
    "disabled": "dim",
}
_UNITS: Final = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
_UNKNOWN: Final = "-"


@dataclass(frozen=True)
class Seen:
    """What is known at one moment.

    Attributes:
        sweeps: Their statuses.
        notes: What else is not well with the daemon.
        code: What the command exits with.
    """

    sweeps: list[SweepStatus]
    notes: list[str]
    code: int


def status_page(
    sweeps: Sequence[SweepStatus], now: datetime, width: int, notes: Sequence[str] = ()
) -> RenderableType:
    """Return what to print.

    Args:
        sweeps: The sweeps.
        now: Wall time, from which times are counted.
        width: Columns of the terminal.
        notes: Further lines below.
    """
    lines: list[RenderableType] = []
    if width >= _TABLE_WIDTH:
        lines.append(_table(sweeps, now))
        lines += [_reason(one) for one in sweeps if one.reason]
    else:
        lines += [Group(*_lines(one, now)) for one in sweeps]
    return Group(*lines, *(Text(safe(note), "yellow") for note in notes))


def _table(sweeps: Sequence[SweepStatus], now: datetime) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for head in ("sweep", "state", "next run", "last run"):
        table.add_column(head, overflow="fold")
    for head in ("backlog", "in/s", "out/s", "ETA", "lag"):
        table.add_column(head, justify="right", no_wrap=True)
    for one in sweeps:
        table.add_row(
            Text(safe(one.sweep)),
            _state(one),
            Text(_next(one, now)),
            Text(_last(one, now), _last_colour(one)),
            Text(_count(one.backlog_estimate)),
            Text(_rate(one.inflow_per_second)),
            Text(_rate(one.drain_per_second)),
            _eta(one),
            _lag(one),
        )
    return table


def _lines(one: SweepStatus, now: datetime) -> list[Text]:
    first = Text(f"{safe(one.sweep)} ", "bold")
    first.append_text(_state(one))
    lines = [first]
    if one.reason:
        lines.append(Text(f"  {safe(one.reason)}"))
    lines.append(Text(f"  next run {_next(one, now)}"))
    lines.append(Text(f"  last run {_last(one, now)}", _last_colour(one)))
    figures = (
        ("backlog", _count(one.backlog_estimate)),
        ("in/s", _rate(one.inflow_per_second)),
        ("out/s", _rate(one.drain_per_second)),
        ("ETA", str(_eta(one))),
        ("lag", str(_lag(one))),
    )
    known = [f"{name} {figure}" for name, figure in figures if figure != _UNKNOWN]
    return [*lines, *([Text(f"  {', '.join(known)}")] if known else [])]


def _state(one: SweepStatus) -> Text:
    colour = _COLOURS.get(one.state, "green" if one.is_well else "red")
    return Text(one.state, colour)


def _reason(one: SweepStatus) -> Text:
    return Text(f"{safe(one.sweep)}: {one.state}: {safe(one.reason or '')}")


def _next(one: SweepStatus, now: datetime) -> str:
    if one.next_run is None:
        return _UNKNOWN
    seconds = (one.next_run - now).total_seconds()
    return f"in {_span(seconds)}" if seconds >= 1 else "now"


def _last(one: SweepStatus, now: datetime) -> str:
    if one.last_run is None:
        return "never"
    outcome = str(one.last_run.get("outcome") or "failed").replace("_", " ")
    deleted = one.last_run.get("deleted_count")
    rows = f", {deleted:,} rows" if isinstance(deleted, int) else ""
    try:
        started = datetime.fromisoformat(str(one.last_run.get("started_at")))
        ago = f" {_span((now - started).total_seconds())} ago"
    except (ValueError, TypeError):
        ago = ""
    return safe(f"{outcome}{ago}{rows}")


def _last_colour(one: SweepStatus) -> str:
    return "red" if one.has_trouble else ""


def _count(number: float | None) -> str:
    return _UNKNOWN if number is None else f"{number:,.0f}"


def _rate(number: float | None) -> str:
    if number is None:
        return _UNKNOWN
    return f"{number:,.0f}" if number >= 10 or number == 0 else f"{number:.2g}"  # noqa: PLR2004


def _eta(one: SweepStatus) -> Text:
    if one.never_ends:
        return Text("never", "red")
    return Text(_UNKNOWN if one.eta_seconds is None else _span(one.eta_seconds))


def _lag(one: SweepStatus) -> Text:
    if one.retention_lag_seconds is None:
        return Text(_UNKNOWN)
    behind = " (behind)" if one.behind else ""
    return Text(_span(one.retention_lag_seconds) + behind, "red" if one.behind else "")


def _span(seconds: float) -> str:
    """Return a length of time by its two largest units."""
    left, parts = max(int(seconds), 0), []
    for unit, length in _UNITS:
        if left >= length:
            parts.append(f"{left // length} {unit}")
            left %= length
        elif parts:
            break
    return " ".join(parts[:2]) or "0 s"
