"""Runs the command, and turns each way it can end into words on stderr and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import suppress
from typing import TextIO

import click

from sweeperd.cli.commands import cli
from sweeperd.cli.terminal import say
from sweeperd.errors import EXIT_FAILED, EXIT_OK, ConfigError, SweeperdError
from sweeperd.log.journal_stream import PRIORITIES, is_journal
from sweeperd.log.safe_text import one_line


def run_command() -> int:
    """Run what the command line asks for and return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        _accept_any_text(stream)
    try:
        code = cli.main(standalone_mode=False, prog_name="sweeperd")
    except BrokenPipeError:
        _forget_stdout()
        return EXIT_OK
    except (SweeperdError, click.ClickException) as error:
        _tell(error)
        return error.exit_code
    except click.Abort:
        say("sweeperd: interrupted", err=True)
        return EXIT_FAILED
    except Exception:  # noqa: BLE001 - a bug, whose trace may quote what a server said
        say("sweeperd: a bug in sweeperd ended the command; please report these lines", err=True)
        for line in traceback.format_exc().splitlines():
            say(f"  {line}", err=True)
        return EXIT_FAILED
    return code if isinstance(code, int) else EXIT_OK


def _tell(error: SweeperdError | click.ClickException) -> None:
    """Say what a user did wrong, or what a server refused."""
    # the priority of the journal's line form, sd-daemon(3)
    label = f"<{PRIORITIES['error']}>" if is_journal(sys.stderr, os.environ) else ""
    if isinstance(error, ConfigError):
        for problem in error.problems:
            say(str(problem), label=label, err=True)
    elif isinstance(error, SweeperdError):
        say(f"sweeperd: {error}", label=label, err=True)
    else:
        # it quotes the command line, which a script may have filled with anything
        error.message = one_line(error.message)  # type: ignore[misc]
        error.show()


def _accept_any_text(stream: TextIO) -> None:
    """Show a character that the terminal's encoding lacks as an escape instead of failing."""
    with suppress(AttributeError, ValueError):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[attr-defined]


def _forget_stdout() -> None:
    """Keep the interpreter's last flush from failing on a reader that is gone."""
    with suppress(OSError, ValueError):
        sys.stdout.close()
