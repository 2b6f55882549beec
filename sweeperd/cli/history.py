"""`sweeperd history`: past runs of a sweep."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from sweeperd.cli.options import config_option, json_option, unknown_sweep
from sweeperd.cli.state_dir import find_place
from sweeperd.cli.terminal import safe
from sweeperd.config.values.durations import parse_duration
from sweeperd.daemon.state.database import DATABASE, StateBusyError
from sweeperd.daemon.state.found import StateUnreadableError
from sweeperd.daemon.state.memory import JsonObject
from sweeperd.daemon.state.runs import read_known_sweeps, read_runs
from sweeperd.host.clock import SystemClock
from sweeperd.host.owner import become_owner_of
from sweeperd.log.event import counted
from sweeperd.log.safe_text import redacted, safe_json

_NEWEST: Final = 20
_INDENT: Final = "  "
_COLOURS: Final = {"drained": "green", "failed": "red", "held": "red", None: "red"}


class PastTime(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic since click 8.3
    """A time in the past: ISO 8601, UTC where it names no zone, or a duration before now."""

    name = "time|duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Read it."""
        try:
            found = datetime.fromisoformat(str(value))
        except ValueError:
            try:
                return SystemClock().now() - parse_duration(str(value))
            except (ValueError, OverflowError):
                self.fail(
                    f"{value!r} is neither a time such as 2026-11-01T08:00Z nor a duration such "
                    "as 7d",
                    param,
                    ctx,
                )
        return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


@click.command(epilog="Example: sweeperd history session_cleanup --since 7d")
@click.argument("name")
@config_option
@click.option(
    "--since",
    type=PastTime(),
    help=f"Runs from then on, all of them; the newest {_NEWEST} if left out.",
)
@json_option
def history(name: str, config_path: Path, *, since: datetime | None, as_json: bool) -> None:
    """Show past runs of a sweep, the newest last.

    It reads the state directory, with or without a daemon. How long runs are kept is
    [daemon] history. Also a sweep that was removed from the configuration has its past runs.
    """
    place = find_place(config_path, None)
    become_owner_of(place.state_dir)
    try:
        runs = _runs(place.state_dir, name, place.sweeps or {}, since)
    except (OSError, ValueError, StateBusyError) as error:
        raise StateUnreadableError(
            f"the state {place.state_dir / DATABASE} cannot be read: {error}"
        ) from error
    if as_json:
        click.echo(safe_json([redacted(run) for run in runs], indent=2))
        return
    for run in runs:
        _show(run)
    if not runs:
        click.echo(f"{name} has no past runs{' since then' if since else ''}", err=True)


def _runs(
    state_dir: Path, name: str, sweeps: Collection[str], since: datetime | None
) -> list[JsonObject]:
    """Return the reports that are asked for.

    Raises:
        click.UsageError: No sweep of that name is configured, or has a past.
    """
    try:
        known = {*sweeps, *read_known_sweeps(state_dir)}
        if name not in known:
            raise unknown_sweep(name, sorted(known))
        return read_runs(state_dir, name, since=since, newest=None if since else _NEWEST)
    except FileNotFoundError:  # nothing has run yet
        if name not in sweeps:
            raise unknown_sweep(name, sorted(sweeps)) from None
        return []


def _show(run: Mapping[str, object]) -> None:
    """Print one run: a line that fits 40 columns, and what else is known of it below."""
    outcome = run.get("outcome")
    label = click.style(str(outcome or "failed"), _COLOURS.get(_text(outcome), "yellow"))
    click.echo(f"{_when(run.get('started_at'))}  {label}", color=_colour())
    # a line of a pipe is whole, for grep
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    for line in _lines(run):
        text = safe(line)
        for part in textwrap.wrap(text, max(width - len(_INDENT), 20)) if width else [text]:
            click.echo(_INDENT + part)


def _lines(run: Mapping[str, object]) -> Iterator[str]:
    deleted, seconds = run.get("deleted_count"), run.get("duration_seconds")
    if isinstance(deleted, int) and isinstance(seconds, int | float):
        yield f"{counted(deleted, 'row')} deleted in {seconds:.1f} s"
    remaining = run.get("remaining")
    skipped = run.get("skipped_count")
    if isinstance(remaining, dict) and remaining:
        yield "left: " + ", ".join(f"{count} {reason}" for reason, count in remaining.items())
    elif isinstance(skipped, int) and skipped:
        yield f"{counted(skipped, 'row')} skipped"
    for key in ("end_reason", "error"):
        if (reason := run.get(key)) and (key == "end_reason" or reason != run.get("end_reason")):
            yield str(reason)
    if correlation_id := run.get("correlation_id"):
        yield str(correlation_id)


def _when(started_at: object) -> str:
    try:
        found = datetime.fromisoformat(str(started_at))
    except ValueError:
        return "at an unknown time"
    return f"{found.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _text(outcome: object) -> str | None:
    return None if outcome is None else str(outcome)


def _colour() -> bool | None:
    """Return whether there are colours; None lets the terminal decide."""
    return False if os.environ.get("NO_COLOR") else None
