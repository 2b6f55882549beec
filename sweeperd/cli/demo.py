"""`sweeperd demo`: the real daemon at work on a throw-away PostgreSQL."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from sweeperd.cli.terminal import safe
from sweeperd.config.values.durations import parse_duration
from sweeperd.demo.server import Installation, Server
from sweeperd.demo.stage import Stage, Tally
from sweeperd.errors import EXIT_FAILED, EXIT_OK
from sweeperd.host.signals import handled_signals
from sweeperd.log.sentence import sentence


class Length(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic since click 8.3
    """A duration as the configuration writes it; 0 for ever."""

    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """Read it."""
        if isinstance(value, timedelta):
            return value
        if value == "0":
            return timedelta()
        try:
            return parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command(epilog="Example: sweeperd demo --for 30s")
@click.option("--for", "length", type=Length(), default="60s", show_default=True,
              help="How long; 0 until Ctrl-C.")  # fmt: skip
@click.option("--keep", is_flag=True, help="Leave the database running, to play with.")
def demo(length: timedelta, *, keep: bool) -> None:
    """Watch the daemon sweep three tables that an application is using.

    It starts a PostgreSQL of its own in a temporary directory, fills it, writes to it all the
    time, runs the real daemon on it and shows its log. At the end it counts what went: a row
    deleted before its time would be an error (exit code 1). Nothing else is touched.
    """
    console = Console(highlight=False, soft_wrap=True)
    server = Server(Installation.find())
    console.print(f"starting PostgreSQL ({server.installation.origin}) on a unix socket ...")
    server.create()
    kept = False
    try:
        server.start()
        code = asyncio.run(_play(server, console, length))
        if keep:
            kept = True
            _explain(server, console)
    finally:
        if not kept:
            server.stop(immediate=True)
            server.remove()
    sys.exit(code)


async def _play(server: Server, console: Console, length: timedelta) -> int:
    stage = Stage(server, lambda event: _show(event, console))
    with handled_signals() as signals:
        console.print("filling three tables ...")
        await stage.prepare()
        until = f"for {length.total_seconds():g} s, or until Ctrl-C" if length else "until Ctrl-C"
        console.print(f"running sweeperd, and an application that writes, {until}\n")
        timer = asyncio.create_task(_end_after(length, signals.end))
        code = await stage.play(signals.stop)
        timer.cancel()
    tallies = await stage.tally()
    console.print(_table(tallies))
    if code != 0:
        console.print(f"[red]the daemon ended with exit code {code}[/]")
    wrong = sum(tally.wrong for tally in tallies)
    verdict = "[red]rows went before their time[/]" if wrong else "no row went before its time"
    console.print(verdict)
    return EXIT_FAILED if wrong or code != 0 else EXIT_OK


async def _end_after(length: timedelta, end: Callable[[], None]) -> None:
    if length:
        await asyncio.sleep(length.total_seconds())
        end()


def _show(event: dict[str, Any], console: Console) -> None:
    """Show one event as the journal shows it to a person."""
    stamp = event.pop("timestamp", None)
    clock = datetime.fromisoformat(stamp).astimezone().strftime("%H:%M:%S") if stamp else ""
    level = event.pop("level", "info")
    colour = {"warning": "yellow", "error": "red"}.get(level, "default")
    name = event.pop("event", "")
    if name in {"sweep_started", "sweep_scheduled"}:
        colour = "bright_black"
    text = safe(sentence(name, event))
    console.print(f"{clock} {text}", style=colour, markup=False, emoji=False)


def _table(tallies: list[Tally]) -> Table:
    table = Table(title="\nwhat became of the rows", title_justify="left")
    table.add_column("sweep")
    for name in ("before", "created", "deleted", "left", "expired left", "wrongly deleted"):
        table.add_column(name, justify="right")
    for tally in tallies:
        numbers = (
            *(tally.before, tally.created, tally.deleted),
            *(tally.left, tally.expired_left, tally.wrong),
        )
        table.add_row(tally.name, *(f"{number:,}" for number in numbers))
    return table


def _explain(server: Server, console: Console) -> None:
    pid = server.pid
    server.leave()
    directory = server.directory
    console.print(f"\nthe database is left running: {server.dsn()}", markup=False)
    console.print(f"its configuration: {directory}/sweeperd.toml", markup=False)
    console.print(f"to stop it: kill -INT {pid}; rm -r {directory}", markup=False)
