"""What a foreground run shows: a live line on a terminal, log lines elsewhere, a summary."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from sweeperd.cli.terminal import safe
from sweeperd.config.models import SweepConfig
from sweeperd.daemon.run_record import log_run
from sweeperd.log.event import Event, Listener, emit
from sweeperd.log.run_events import Waiting
from sweeperd.sweep.guards.hold_file import Hold, Holds
from sweeperd.sweep.guards.told import hold_event, release_command
from sweeperd.sweep.outcome.report import Report


@contextmanager
def shown(report: Report, holds: Holds, sweep: SweepConfig, *, as_json: bool) -> Iterator[Listener]:
    """Show one run while it goes on, and its summary at the end."""
    terminal = Console(stderr=True)
    if terminal.is_terminal:
        with _live(report, terminal) as listener:
            yield listener
    else:
        yield emit
    hold = holds.find(sweep) if report.outcome == "held" else None
    log_run(report)
    if hold is not None:
        emit(hold_event(hold, sweep.name))
    if not as_json:
        print_summary(report, hold)


@contextmanager
def _live(report: Report, console: Console) -> Iterator[Listener]:
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(f"{report.sweep}: looking")

        def listen(event: Event) -> None:
            seconds = progress.tasks[0].elapsed or 0.0
            rate = report.deleted_count / seconds if seconds else 0.0
            text = f"{report.sweep}: {report.deleted_count:,} rows, {rate:,.0f}/s"
            if isinstance(event, Waiting):
                text += f", waits: {event.reason}"
            progress.update(task, description=safe(text))
            emit(event)

        yield listen


def print_summary(report: Report, hold: Hold | None) -> None:
    """Print what a person asks after a run, on stdout."""
    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    colour = {"drained": "green", "failed": "red", "held": "red"}.get(str(report.outcome), "yellow")
    console.print(f"[bold]{report.sweep}[/]: [{colour}]{report.outcome}[/]", end="")
    if report.expired_count is not None:
        _print(console, f", {report.end_reason}")
    else:
        _print(
            console,
            f", {report.deleted_count} rows deleted, {report.skipped_count} skipped, "
            f"{report.batches} batches, {report.duration_seconds:.1f} s",
        )
        if report.end_reason:
            _print(console, f"  {report.end_reason}")
    if report.cutoff_time:
        _print(console, f"  cutoff {report.cutoff_time:%Y-%m-%d %H:%M:%S} UTC")
    for line in [*report.plan, *report.warnings]:
        _print(console, f"  {line}")
    if report.outcome == "held":
        _print(
            console,
            f"  to release it: {release_command(hold) if hold is not None else 'run it again'}",
        )


def _print(console: Console, text: str) -> None:
    """Print one line of any origin: neither markup nor a control character acts."""
    console.print(safe(text), markup=False, emoji=False)
