"""`sweeperd sweep --daemon`: asks the daemon for a run, and waits for its report."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import cast

import click

from sweeperd.cli.output import print_summary
from sweeperd.cli.terminal import say
from sweeperd.daemon.control.client import RefusedError, ask
from sweeperd.daemon.control.messages import ControlRequest
from sweeperd.daemon.recent_runs import number
from sweeperd.errors import SweeperdError
from sweeperd.host.early_signals import deliver_signals
from sweeperd.log.safe_text import safe_json
from sweeperd.sweep.guards.hold_file import Hold
from sweeperd.sweep.outcome.report import Outcome, Report


def sweep_by_daemon(socket: Path, request: ControlRequest, *, as_json: bool) -> Report:
    """Let the daemon run a sweep, print the report, and return it.

    Args:
        socket: The daemon's.
        request: Which sweep.
        as_json: Whether to print it as JSON, in a list as `sweeperd sweep` does.

    Raises:
        click.UsageError: No sweep is called so.
        SweeperdError: It did not run, or its report did not come.
    """
    deliver_signals()  # only a run in this process ends at a batch's edge
    try:
        fields = ask(socket, request, seconds=None)
    except RefusedError as error:
        if error.code == "unknown_sweep":
            raise click.UsageError(str(error)) from None
        raise
    except KeyboardInterrupt:
        say(f"not waited for; to see how it goes: sweeperd status {request.sweep}", err=True)
        raise click.Abort from None
    report = _report(fields)
    if as_json:
        plain = {key: value for key, value in fields.items() if key != "exit_code"}
        click.echo(safe_json([plain], indent=2))
    else:
        hold = Hold(report.sweep, report.end_reason or "") if report.outcome == "held" else None
        print_summary(report, hold)
    return report


def _report(fields: Mapping[str, object]) -> Report:
    """Read what the daemon tells of the run.

    Raises:
        SweeperdError: It is no report.
    """
    figures = [number(fields, key) for key in ("deleted_count", "skipped_count", "batches")]
    counts = [int(figure) for figure in figures if figure is not None]
    if len(counts) < len(figures):
        raise SweeperdError("the daemon's answer is no report; it may be of another version")
    cutoff, warnings = fields.get("cutoff_time"), fields.get("warnings")
    reason = fields.get("end_reason")
    report = Report(
        str(fields.get("sweep")),
        str(fields.get("correlation_id")),
        cutoff_time=datetime.fromisoformat(cutoff) if isinstance(cutoff, str) else None,
        outcome=cast("Outcome", fields.get("outcome")),
        duration_seconds=number(fields, "duration_seconds") or 0.0,
        end_reason=str(reason) if reason else None,
        warnings=list(map(str, warnings)) if isinstance(warnings, list) else [],
        exit_code=int(number(fields, "exit_code") or 0),
    )
    report.deleted_count, report.skipped_count, report.batches = counts
    expired = number(fields, "expired_count")
    report.expired_count = None if expired is None else int(expired)
    return report
