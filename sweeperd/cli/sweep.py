"""`sweeperd sweep`: run sweeps now, in the foreground."""

from __future__ import annotations

import asyncio
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path

import click

from sweeperd.cli.daemon_place import find_socket
from sweeperd.cli.daemon_run import sweep_by_daemon
from sweeperd.cli.options import (
    CorrelationId,
    chosen,
    config_option,
    json_option,
    meant_config,
)
from sweeperd.cli.output import shown
from sweeperd.config.files.loading import load_config
from sweeperd.config.models import Config, SweepConfig
from sweeperd.config.order import in_order
from sweeperd.config.values.credentials import keep_credentials
from sweeperd.daemon.control.messages import ControlRequest
from sweeperd.daemon.state.holds import put_in_force, read_holds
from sweeperd.daemon.state.record import Loaded
from sweeperd.daemon.state.store import running_pid
from sweeperd.errors import EXIT_FAILED, EXIT_OK, EXIT_UNAVAILABLE
from sweeperd.host.clock import SystemClock
from sweeperd.host.owner import become_owner_of
from sweeperd.host.permissions import refuse_exposed
from sweeperd.host.signals import Signals, handled_signals
from sweeperd.log.safe_text import redacted, safe_json
from sweeperd.log.setup import configure, run_context
from sweeperd.postgres.connect import Database
from sweeperd.sweep.guards.hold_file import Holds
from sweeperd.sweep.once import run_once
from sweeperd.sweep.options import RunOptions
from sweeperd.sweep.outcome.memory import SweepMemory
from sweeperd.sweep.outcome.report import Report
from sweeperd.sweep.runner import ARCHIVES, Runner


@dataclass(frozen=True)
class SweepOptions:
    """What the operator asked for beside the names."""

    dry_run: bool
    max_rows: int | None
    correlation_id: str | None
    as_json: bool
    archives: Path


@click.command(
    epilog="Example: sweeperd sweep session_cleanup --max-rows 10000 --correlation-id deploy-42"
)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@config_option
@click.option("--dry-run", is_flag=True, help="Count what would go (bounded); write nothing.")
@click.option("--max-rows", type=click.IntRange(min=1), help="Delete at most this many rows.")
@click.option("--daemon", "by_daemon", is_flag=True, help="Let the daemon run it, and wait.")
@click.option("--correlation-id", type=CorrelationId(), help="The runs' id; a new one by default.")
@json_option
@click.pass_context
def sweep(
    context: click.Context,
    names: tuple[str, ...],
    config_path: Path,
    *,
    dry_run: bool,
    max_rows: int | None,
    by_daemon: bool,
    correlation_id: str | None,
    as_json: bool,
) -> None:
    """Sweep now, in the foreground: all enabled sweeps, or those named, children first.

    Ctrl-C ends at the batch's edge with the report; a second one cancels the statement. A sweep
    that is held is not run. In the daemon's state directory only holds that a guard sets and the
    files of archive_to = "file:" are written.

    With `--daemon` the daemon runs the one sweep named, now or once its run under way has ended;
    Ctrl-C then ends the waiting, not the run.
    """
    if by_daemon:
        if len(names) != 1 or dry_run or max_rows is not None:
            raise click.UsageError("--daemon takes one NAME, and no --dry-run or --max-rows")
        request = ControlRequest("sweep", names[0], correlation_id, meant_config(context))
        reports = [sweep_by_daemon(find_socket(config_path), request, as_json=as_json)]
        sys.exit(_exit_code(reports))
    config = load_config(config_path)
    sweeps = in_order(chosen(config, names))
    configure(config.daemon.log_level, config.daemon.log_format)
    keep_credentials()
    become_owner_of(config.daemon.state_dir, make=True)
    refuse_exposed(config.daemon.state_dir)
    asked = SweepOptions(
        dry_run, max_rows, correlation_id, as_json, config.daemon.state_dir / ARCHIVES
    )
    reports = asyncio.run(_sweep_all(config, sweeps, asked))
    if as_json:
        click.echo(safe_json([redacted(report.as_json()) for report in reports], indent=2))
    sys.exit(_exit_code(reports))


async def _sweep_all(
    config: Config, sweeps: list[SweepConfig], asked: SweepOptions
) -> list[Report]:
    """Run one sweep after the other; one that fails does not stop the others."""
    databases = {name: Database(database) for name, database in config.databases.items()}
    past = Past.of(config)
    reports: list[Report] = []
    with handled_signals() as signals:
        hangup = asyncio.ensure_future(_stop_on_hangup(signals))
        try:
            for one in sweeps:
                report = Report(one.name, asked.correlation_id or str(uuid.uuid4()))
                report.memory = past.memory(one.name)
                reports.append(report)
                with run_context(one.name, report.correlation_id):
                    await _sweep_one(one, databases[one.database], report, (asked, past), signals)
        finally:
            hangup.cancel()
    return reports


async def _stop_on_hangup(signals: Signals) -> None:
    """A foreground run has nothing to reload: SIGHUP says that its terminal is gone."""
    await signals.reloads.next()
    signals.end()


async def _sweep_one(
    one: SweepConfig,
    database: Database,
    report: Report,
    given: tuple[SweepOptions, Past],
    signals: Signals,
) -> None:
    asked, past = given
    if signals.stop.is_set():
        report.finish("stopped", "asked to stop")
        return
    released = past.holds.released(one.name)
    options = RunOptions(
        stop=signals.stop,
        max_rows=asked.max_rows,
        released=released.kinds if released is not None else (),
        dry_run=asked.dry_run,
    )
    with shown(report, past.holds, one, as_json=asked.as_json) as listener:
        work = asyncio.ensure_future(
            run_once(
                Runner(
                    one,
                    database,
                    SystemClock(),
                    listener=listener,
                    archives=asked.archives,
                    holds=past.holds,
                ),
                report,
                options,
                timeout=one.timeout.total_seconds(),
                clock=SystemClock(),
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
    # a daemon keeps what its own next run compares with, and passes the release then; state that
    # cannot be read stays so until a daemon has put it aside
    passed = report.cutoff_time is not None and report.outcome != "held" and not asked.dry_run
    is_damaged = past.loaded.unusable is not None or one.name in past.loaded.damaged
    if released is not None and passed and not past.has_daemon and not is_damaged:
        past.holds.forget_release(one.name)


@dataclass(frozen=True)
class Past:
    """What is known of earlier runs, and what is held.

    Attributes:
        loaded: The daemon's state.
        holds: The holds of the state directory.
        has_daemon: Whether a daemon runs on it.
    """

    loaded: Loaded
    holds: Holds
    has_daemon: bool

    @classmethod
    def of(cls, config: Config) -> Past:
        """Read the state; what cannot be read holds the sweeps it may concern."""
        state_dir = config.daemon.state_dir
        loaded, holds = read_holds(state_dir, SystemClock().now, config.sweeps.keys())
        put_in_force(holds, loaded, config.sweeps)
        return cls(loaded, holds, running_pid(state_dir) is not None)

    def memory(self, name: str) -> SweepMemory:
        """Return what the guards compare the next run with; cursors stay the daemon's own."""
        record = self.loaded.records.get(name)
        return record.memory.for_guards() if record is not None else SweepMemory()


def _exit_code(reports: list[Report]) -> int:
    """Return 0, or 69 when the database was the only trouble, else 1."""
    codes = {report.exit_code for report in reports}
    codes |= {EXIT_FAILED for report in reports if report.outcome == "held"}
    codes.discard(EXIT_OK)
    if not codes:
        return EXIT_OK
    return EXIT_UNAVAILABLE if codes == {EXIT_UNAVAILABLE} else EXIT_FAILED
