"""`sweeperd status`: what the daemon does, whether it keeps up, and why it deleted nothing."""

from __future__ import annotations

import sys
import time
from io import StringIO
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from sweeperd.cli.daemon_place import find_socket
from sweeperd.cli.options import config_option, json_option, meant_config
from sweeperd.cli.status_page import Seen, status_page
from sweeperd.cli.terminal import say
from sweeperd.daemon.control.client import RefusedError, ask
from sweeperd.daemon.control.endpoint import NotRunningError
from sweeperd.daemon.control.messages import ControlRequest
from sweeperd.daemon.status import SweepStatus
from sweeperd.errors import EXIT_FAILED, EXIT_OK, SweeperdError
from sweeperd.host.clock import SystemClock
from sweeperd.log.safe_text import safe_json

_REFRESH_SECONDS: Final = 2.0
_PIPE_WIDTH: Final = 10_000  # a line of a table is a line, however long


@click.command(epilog="Example: sweeperd status session_cleanup --json")
@click.argument("name", required=False)
@click.option("--watch", is_flag=True, help="Show it anew every 2 s, on a terminal.")
@json_option
@config_option
@click.pass_context
def status(
    context: click.Context,
    name: str | None,
    config_path: Path,
    *,
    watch: bool,
    as_json: bool,
) -> None:
    """Show what each sweep does, its last run, its backlog, and what is wrong.

    Exit code 0: all is well. 1: a sweep failed, is held, incomplete or behind, or the files of
    the configuration are rejected. 3: the daemon does not run; then what it saved is shown.
    """
    meant = meant_config(context)
    if as_json:
        seen = _look(config_path, name, meant)
        click.echo(safe_json([one.as_json() for one in seen.sweeps], indent=2))
    elif watch and sys.stdout.isatty():
        seen = _watched(config_path, name, meant)
    else:
        seen = _look(config_path, name, meant)
        is_terminal = sys.stdout.isatty()
        shown = Console(
            file=(text := StringIO()),
            force_terminal=is_terminal,
            width=None if is_terminal else _PIPE_WIDTH,
            highlight=False,
        )
        shown.print(status_page(seen.sweeps, SystemClock().now(), shown.width))
        # a pipe that was closed early is the command's own affair, not the table's
        click.echo(text.getvalue(), nl=False)
    for note in seen.notes:
        say(f"sweeperd: {note}", err=True)
    sys.exit(seen.code)


def _watched(config_path: Path, name: str | None, meant: str | None) -> Seen:
    """Show it until Ctrl-C; return what was seen last."""
    from rich.live import Live  # noqa: PLC0415 - only here

    console = Console(highlight=False)
    seen = _look(config_path, name, meant)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        try:
            while True:
                page = status_page(seen.sweeps, SystemClock().now(), console.width, seen.notes)
                live.update(page, refresh=True)
                time.sleep(_REFRESH_SECONDS)
                seen = _look(config_path, name, meant)
        except KeyboardInterrupt:
            return seen


def _look(config_path: Path, name: str | None, meant: str | None) -> Seen:
    """Ask the daemon; where none runs, read what it saved."""
    try:
        return _asked(config_path, ControlRequest("status", sweep=name, config=meant))
    except RefusedError as error:
        if error.code == "unknown_sweep":
            raise click.UsageError(str(error)) from None
        raise
    except NotRunningError as error:
        from sweeperd.cli.saved_status import saved_status  # noqa: PLC0415 - half a second

        return saved_status(config_path, name, error)


def _asked(config_path: Path, request: ControlRequest) -> Seen:
    result = ask(find_socket(config_path), request)
    daemon, plain = result.get("daemon"), result.get("sweeps")
    try:
        if not isinstance(daemon, dict) or not isinstance(plain, list):
            raise ValueError("it names no daemon and no sweeps")  # noqa: TRY004, TRY301 - as below
        sweeps = [SweepStatus.from_json(one) for one in plain]
    except (ValueError, AttributeError, TypeError) as error:
        raise SweeperdError(
            f"the daemon's answer is not understood: {error}",
            cure="it may be of another version: systemctl restart sweeperd",
        ) from None
    away = daemon.get("databases_away") or {}
    notes = [f"database {one} is away: {reason}" for one, reason in away.items()]
    rejected = daemon.get("rejected") or []
    if rejected:
        notes.append(
            f"the configuration in the files is rejected, the one before is in force: {rejected[0]}"
        )
    is_well = not rejected and all(sweep.is_well for sweep in sweeps)
    return Seen(sweeps, notes, EXIT_OK if is_well else EXIT_FAILED)
