"""The command `sweeperd`: its group, and how errors end it."""

from __future__ import annotations

import sys

import click

from sweeperd import __version__
from sweeperd.cli.check import check
from sweeperd.cli.demo import demo
from sweeperd.cli.hold import hold, release
from sweeperd.cli.run import run
from sweeperd.cli.sweep import sweep
from sweeperd.errors import ConfigError, SweeperdError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sweeperd")
def cli() -> None:
    """Row-level TTL for any PostgreSQL: remove expired rows, safely.

    \b
    Example:
      sweeperd check
      sweeperd sweep --dry-run
    """


for command in (check, demo, hold, release, run, sweep):
    cli.add_command(command)


def main() -> None:
    """Run the command line; a user's mistake ends in words and an exit code, never a trace."""
    try:
        cli.main(standalone_mode=True, prog_name="sweeperd")
    except ConfigError as error:
        for problem in error.problems:
            click.echo(str(problem), err=True)
        sys.exit(error.exit_code)
    except SweeperdError as error:
        click.echo(f"sweeperd: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(0)
