"""`sweeperd run`: the daemon, in the foreground of whoever starts it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from sweeperd.cli.options import config_option
from sweeperd.daemon.service import Daemon
from sweeperd.host.clock import SystemClock


@click.command(epilog="Example: sweeperd run --config /etc/sweeperd/sweeperd.toml")
@config_option
def run(config_path: Path) -> None:
    """Run the daemon: sweep whenever it is due, until SIGTERM.

    SIGHUP reads the configuration again. Logs go to stderr: the journal's own protocol under
    systemd, coloured text on a terminal, JSON lines elsewhere.
    """
    asyncio.run(Daemon(config_path, SystemClock()).serve())
