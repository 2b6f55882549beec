"""`sweeperd run`: the daemon, in the foreground of whoever starts it."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import click

from sweeperd.cli.options import config_option
from sweeperd.daemon.service import Daemon
from sweeperd.errors import ConfigError, SweeperdError
from sweeperd.host.clock import SystemClock
from sweeperd.log.daemon_events import StartFailed
from sweeperd.log.event import emit
from sweeperd.log.journal import is_journal
from sweeperd.log.setup import configure


@click.command(epilog="Example: sweeperd run --config /etc/sweeperd/sweeperd.toml")
@config_option
def run(config_path: Path) -> None:
    """Run the daemon: sweep whenever it is due, until SIGTERM.

    SIGHUP reads the configuration again. Logs go to stderr: the journal's own protocol under
    systemd, coloured text on a terminal, JSON lines elsewhere.
    """
    try:
        asyncio.run(Daemon(config_path, SystemClock()).serve())
    except SweeperdError as error:
        if not is_journal(sys.stderr, os.environ):
            raise
        configure("info", "journal")
        emit(_start_failed(error))
        sys.exit(error.exit_code)


def _start_failed(error: SweeperdError) -> StartFailed:
    problems = [str(error)]
    if isinstance(error, ConfigError):
        problems = [str(problem) for problem in error.problems] or problems
    more = f" (and {len(problems) - 1} more: sweeperd check)" if len(problems) > 1 else ""
    return StartFailed(problems[0] + more, problems, error.exit_code)
