"""`sweeperd sweep`: run sweeps now, in the foreground."""

from __future__ import annotations

import asyncio
import sys
import uuid
from dataclasses import dataclass, replace
from functools import partial
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
from sweeperd.cli.terminal import say
from sweeperd.config.files.loading import load_config
from sweeperd.config.models import Config, SweepConfig
from sweeperd.config.order import in_order
from sweeperd.config.values.credentials import keep_credentials
from sweeperd.daemon.control.messages import ControlRequest
from sweeperd.daemon.run_record import finished_run
from sweeperd.daemon.state.foreground import foreground_run
from sweeperd.daemon.state.holds import put_in_force, read_holds
from sweeperd.daemon.state.record import Loaded, SweepRecord
from sweeperd.daemon.state.store import StateStore
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
    that is held is not run. Each run goes on where the last one stopped, the daemon's or another
    in the foreground, and leaves its position and its report in the state directory.

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
                reports.append(report)
                with run_context(one.name, report.correlation_id):
                    await _sweep_one(one, databases[one.database], report, (asked, past), signals)
        finally:
            hangup.cancel()
            past.store.close()
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
    runner = partial(
        Runner, one, database, SystemClock(), archives=asked.archives, holds=past.holds
    )
    if asked.dry_run:
        report.memory = past.loaded.records.get(one.name, SweepRecord()).memory.copy()
        with shown(report, past.holds, one, as_json=asked.as_json) as listener:
            await _attended(runner(listener=listener), report, options, signals, one)
        return
    started = SystemClock().now()
    with foreground_run(past.store, past.loaded, one.name) as run:
        if run.obstacle is not None:
            say(f"{one.name}: where this run stops will not be saved: {run.obstacle}", err=True)
        report.memory = run.record.memory.copy()
        with shown(report, past.holds, one, as_json=asked.as_json) as listener:
            await _attended(runner(listener=listener), report, options, signals, one)
        record = replace(run.record, memory=report.memory)
        is_saved = run.save(record, finished_run(report, started))
    # what could not be saved is not known to the next run, which passes the release, too
    if released is not None and is_saved and report.cutoff_time and report.outcome != "held":
        past.holds.forget_release(one.name)


async def _attended(
    runner: Runner, report: Report, options: RunOptions, signals: Signals, sweep: SweepConfig
) -> None:
    """Run once; a second signal cancels the statement."""
    seconds = sweep.timeout.total_seconds()
    work = asyncio.ensure_future(
        run_once(runner, report, options, timeout=seconds, clock=SystemClock())
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


@dataclass(frozen=True)
class Past:
    """What is known of earlier runs, and what is held.

    Attributes:
        loaded: The state.
        holds: The holds of the state directory.
        store: Where a run leaves what the next one needs.
    """

    loaded: Loaded
    holds: Holds
    store: StateStore

    @classmethod
    def of(cls, config: Config) -> Past:
        """Read the state; what cannot be read holds the sweeps it may concern."""
        state_dir, now = config.daemon.state_dir, SystemClock().now
        loaded, holds = read_holds(state_dir, now, config.sweeps.keys())
        put_in_force(holds, loaded, config.sweeps)
        return cls(loaded, holds, StateStore(state_dir, now, config.daemon.history))


def _exit_code(reports: list[Report]) -> int:
    """Return 0, or 69 when the database was the only trouble, else 1."""
    codes = {report.exit_code for report in reports}
    codes |= {EXIT_FAILED for report in reports if report.outcome == "held"}
    codes.discard(EXIT_OK)
    if not codes:
        return EXIT_OK
    return EXIT_UNAVAILABLE if codes == {EXIT_UNAVAILABLE} else EXIT_FAILED
