"""A finished run: the one log event that tells it, the history and the record that keep it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sweeperd.daemon.state.record import HISTORY_LENGTH, SweepRecord
from sweeperd.daemon.state.runs import Run
from sweeperd.errors import EXIT_UNAVAILABLE
from sweeperd.log.event import emit

if TYPE_CHECKING:
    from datetime import datetime

    from sweeperd.sweep.outcome.report import Report


def did_not_happen(report: Report) -> bool:
    """Tell whether the run never reached its database, so that it is owed still."""
    return report.exit_code == EXIT_UNAVAILABLE and report.batches == 0


def log_run(report: Report) -> None:
    """Log exactly one of sweep_ran, sweep_timed_out and sweep_failed."""
    emit(report.ended())


def finished_run(report: Report, started: datetime) -> Run:
    """Return a run as the history keeps it.

    Args:
        report: What it did.
        started: Wall time of its start.
    """
    return Run(report.sweep, {"started_at": started.isoformat(), **report.as_json()})


def recorded(record: SweepRecord, report: Report, run: Run) -> SweepRecord:
    """Return the sweep's record after the run.

    Args:
        record: The record while it ran.
        report: What it did.
        run: The same, as the history keeps it.
    """
    return replace(
        record,
        last_outcome=report.outcome or "failed",
        # a run that ended with the daemon leaves work over, too: the next start takes it up
        left_over=report.left_over or report.outcome == "stopped",
        memory=report.memory,
        held=None,
        held_by=None,
        held_kinds=(),
        history=(*record.history, run.report)[-HISTORY_LENGTH:],
    )


def owed(record: SweepRecord, before: SweepRecord) -> SweepRecord:
    """Return the record after a run that did not happen: no later start may count on it."""
    return replace(
        record,
        last_start=before.last_start,
        last_outcome=before.last_outcome,
        left_over=before.left_over,
        boot=before.boot,
        started_elapsed=before.started_elapsed,
    )
