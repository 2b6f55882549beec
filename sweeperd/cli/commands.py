"""The command `sweeperd`: its group, with every command."""

from __future__ import annotations

import click

from sweeperd import __version__
from sweeperd.cli.check import check
from sweeperd.cli.demo import demo
from sweeperd.cli.discover import discover
from sweeperd.cli.hold import hold, release
from sweeperd.cli.install import install, uninstall
from sweeperd.cli.plan import plan
from sweeperd.cli.presets import presets
from sweeperd.cli.run import run
from sweeperd.cli.sweep import sweep


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sweeperd")
def cli() -> None:
    """Row-level TTL for any PostgreSQL: remove expired rows, safely.

    \b
    Example:
      sweeperd check
      sweeperd sweep --dry-run
    """


for command in (
    check, demo, discover, hold, install, plan, presets, release, run, sweep, uninstall,
):  # fmt: skip
    cli.add_command(command)
