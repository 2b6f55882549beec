"""A finished run's account: the one log event that tells it, and the record that keeps it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sweeperd.daemon.state.record import HISTORY_LENGTH, SweepRecord
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


def recorded(record: SweepRecord, report: Report, started: datetime) -> SweepRecord:
    """Return the sweep's record after the run.

    Args:
        record: The record while it ran.
        report: What it did.
        started: Wall time of its start.
    """
    entry = {"started_at": started.isoformat(), **report.as_json()}
    return replace(
        record,
        last_outcome=report.outcome or "failed",
        # a run that ended with the daemon leaves work over, too: the next start takes it up
        left_over=report.left_over or report.outcome == "stopped",
        memory=report.memory,
        held=None,
        held_by=None,
        held_kinds=(),
        history=(*record.history, entry)[-HISTORY_LENGTH:],
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
