"""`sweeperd sweep`: run sweeps now, in the foreground."""

from __future__ import annotations

import asyncio
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from sweeperd.cli.options import CorrelationId, chosen, config_option, json_option
from sweeperd.cli.output import shown
from sweeperd.config.files.loading import load_config
from sweeperd.config.models import Config, SweepConfig
from sweeperd.config.order import in_order
from sweeperd.daemon.state.store import StateUnreadableError, read_records
from sweeperd.errors import EXIT_FAILED, EXIT_OK, EXIT_UNAVAILABLE
from sweeperd.host.clock import SystemClock
from sweeperd.host.owner import become_owner_of
from sweeperd.host.permissions import refuse_exposed
from sweeperd.host.signals import Signals, handled_signals
from sweeperd.log.safe_text import redacted, safe_json
from sweeperd.log.setup import configure, run_context
from sweeperd.postgres.connect import Database
from sweeperd.sweep.once import run_once
from sweeperd.sweep.outcome.report import Report
from sweeperd.sweep.runner import ARCHIVES, Runner

# what the guards compare with; cursors stay the daemon's own
_GUARDS: Final = ("guard", "drained", "held_for")


@dataclass(frozen=True)
class Request:
    """What the operator asked for beside the names."""

    dry_run: bool
    max_rows: int | None
    correlation_id: str | None
    release: bool
    as_json: bool
    archives: Path


@click.command(
    epilog="Example: sweeperd sweep session_cleanup --max-rows 10000 --correlation-id deploy-42"
)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@config_option
@click.option("--dry-run", is_flag=True, help="Count what would go (bounded); write nothing.")
@click.option("--max-rows", type=click.IntRange(min=1), help="Delete at most this many rows.")
@click.option("--correlation-id", type=CorrelationId(), help="The runs' id; a new one by default.")
@click.option("--release", is_flag=True, help="Let holds go, this once, after saying which.")
@json_option
def sweep(
    names: tuple[str, ...],
    config_path: Path,
    *,
    dry_run: bool,
    max_rows: int | None,
    correlation_id: str | None,
    release: bool,
    as_json: bool,
) -> None:
    """Sweep now, in the foreground: all enabled sweeps, or those named, children first.

    Ctrl-C ends at the batch's edge with the report; a second one cancels the statement. The
    daemon's state directory is read, never written, but for the files of archive_to = "file:".
    """
    config = load_config(config_path)
    sweeps = in_order(chosen(config, names))
    configure(config.daemon.log_level, config.daemon.log_format)
    become_owner_of(config.daemon.state_dir)
    refuse_exposed(config.daemon.state_dir)
    request = Request(
        dry_run, max_rows, correlation_id, release, as_json, config.daemon.state_dir / ARCHIVES
    )
    reports = asyncio.run(_sweep_all(config, sweeps, request))
    if as_json:
        click.echo(safe_json([redacted(report.as_dict()) for report in reports], indent=2))
    sys.exit(_exit_code(reports))


async def _sweep_all(config: Config, sweeps: list[SweepConfig], request: Request) -> list[Report]:
    """Run one sweep after the other; one that fails does not stop the others."""
    databases = {name: Database(database) for name, database in config.databases.items()}
    memories = _memories(config)
    reports: list[Report] = []
    with handled_signals() as signals:
        hangup = asyncio.ensure_future(_stop_on_hangup(signals))
        try:
            for one in sweeps:
                report = Report(one.name, request.correlation_id or str(uuid.uuid4()))
                report.memory = memories.get(one.name, {})
                reports.append(report)
                with run_context(one.name, report.correlation_id):
                    await _sweep_one(one, databases[one.database], report, request, signals)
        finally:
            hangup.cancel()
    return reports


async def _stop_on_hangup(signals: Signals) -> None:
    """A foreground run has nothing to reload: SIGHUP says that its terminal is gone."""
    await signals.reloads.next()
    signals.end()


async def _sweep_one(
    one: SweepConfig, database: Database, report: Report, request: Request, signals: Signals
) -> None:
    if signals.stop.is_set():
        report.finish("stopped", "asked to stop")
        return
    with shown(report, as_json=request.as_json) as listener:
        work = asyncio.ensure_future(
            run_once(
                Runner(one, database, SystemClock(), listener=listener, archives=request.archives),
                report,
                timeout=one.timeout.total_seconds(),
                stop=signals.stop,
                clock=SystemClock(),
                max_rows=request.max_rows,
                release=request.release,
                dry_run=request.dry_run,
            )
        )
        force = asyncio.ensure_future(signals.force.wait())
        await asyncio.wait({work, force}, return_when=asyncio.FIRST_COMPLETED)
        force.cancel()
        if not work.done():
            work.cancel()
        try:
            await work
        except asyncio.CancelledError:
            report.finish("stopped", "asked twice to stop: the statement was cancelled")


def _memories(config: Config) -> dict[str, dict[str, object]]:
    """Return what the daemon knows of earlier runs."""
    try:
        records = read_records(config.daemon.state_dir)
    except StateUnreadableError:
        return {}
    return {
        name: {key: record.memory[key] for key in _GUARDS if key in record.memory}
        for name, record in records.items()
    }


def _exit_code(reports: list[Report]) -> int:
    """Return 0, or 69 when the database was the only trouble, else 1."""
    codes = {report.exit_code for report in reports}
    codes |= {EXIT_FAILED for report in reports if report.outcome == "held"}
    codes.discard(EXIT_OK)
    if not codes:
        return EXIT_OK
    return EXIT_UNAVAILABLE if codes == {EXIT_UNAVAILABLE} else EXIT_FAILED
