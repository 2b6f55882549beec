"""`sweeperd hold` and `sweeperd release`: what an operator asks of the daemon for one sweep."""

from __future__ import annotations

from pathlib import Path

import click

from sweeperd.cli.options import chosen, config_option
from sweeperd.cli.terminal import say
from sweeperd.config.files.loading import load_config
from sweeperd.daemon.control import Request, drop_request
from sweeperd.daemon.state.store import running_pid


@click.command(epilog='Example: sweeperd hold audit_log --reason "legal asks for May"')
@click.argument("name")
@click.option("--reason", default="", help="Why; shown wherever the hold is.")
@config_option
def hold(name: str, config_path: Path, reason: str) -> None:
    """Stop a sweep's runs until `sweeperd release`; a run under way ends at the batch's edge."""
    _ask(config_path, Request("hold", name, reason))


@click.command(epilog="Example: sweeperd release session_cleanup")
@click.argument("name")
@config_option
def release(name: str, config_path: Path) -> None:
    """Let a held sweep go: it runs at once, past what the guards doubted.

    Read the reason of the hold before, in `journalctl -u sweeperd EVENT=sweep_held`.
    """
    _ask(config_path, Request("release", name))


def _ask(config_path: Path, request: Request) -> None:
    config = load_config(config_path)
    chosen(config, (request.sweep,))
    state_dir = config.daemon.state_dir
    drop_request(state_dir, request)
    pid = running_pid(state_dir)
    when = f"the daemon (pid {pid}) does it within seconds" if pid else "done when a daemon starts"
    say(f"{request.action} {request.sweep}: {when}")
