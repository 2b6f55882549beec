"""What is counted from the daemon's events, by sweep of the configuration in force."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final

from sweeperd.log.daemon_events import (
    ConfigRejected,
    ConfigReloaded,
    DatabaseBack,
    DatabaseLost,
)
from sweeperd.log.events import RunEnded, SweepStarted
from sweeperd.log.run_events import BatchCommitted, BatchRolledBack, Surveyed, Waited

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sweeperd.config.models import Config, DatabaseConfig, SweepConfig
    from sweeperd.daemon.state.record import SweepRecord
    from sweeperd.host.clock import Clock
    from sweeperd.log.event import Event

# A label has few values: what an event calls otherwise is "other".
CAUSES: Final = frozenset(
    {
        "rate_limit", "max_rows", "max_connections", "lock", "locked_rows", "server", "retry",
        "database_lost", "commit_status", "replication", "slots", "wait_queue", "health_query",
    }
)  # fmt: skip
PHASES: Final = ("survey", "delete", "commit", "rolled_back")
# A run that its limits ended is a success if it deleted rows.
_LIMITED: Final = frozenset({"timed_out", "capped"})
_DAY_SECONDS: Final = 86_400.0


@dataclass
class SweepCounts:
    """What is known of one sweep; times are seconds since 1970.

    Attributes:
        config: Its settings.
        since: When this process took it up.
        runs: Runs that ended, by outcome.
        deleted: Rows.
        skipped: Rows; one that stays is counted in each run.
        archived: Rows.
        phases: Seconds of survey, delete, commit, and of what was rolled back.
        waits: Seconds, by cause.
        last_start: Of a run.
        last_success: When a run last ended as it should.
        last_deletion: When a batch last deleted rows.
        last_outcome: Of the newest run that ended.
        expired_rows: The newest survey's estimate, less what was deleted since, and at the end
            of a run what is left; None when nobody knows.
        deleted_in_run: Rows, of the run under way.
    """

    config: SweepConfig
    since: float
    runs: Counter[str] = field(default_factory=Counter)
    deleted: int = 0
    skipped: int = 0
    archived: int = 0
    phases: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))
    waits: dict[str, float] = field(default_factory=dict)
    last_start: float | None = None
    last_success: float | None = None
    last_deletion: float | None = None
    last_outcome: str | None = None
    expired_rows: float | None = None
    deleted_in_run: int = 0

    @property
    def interval(self) -> float:
        """Seconds between two starts; with a window at least a day."""
        seconds = self.config.interval.total_seconds()
        return max(seconds, _DAY_SECONDS) if self.config.window is not None else seconds

    @property
    def mode(self) -> str:
        """Whether it deletes."""
        if not self.config.enabled:
            return "disabled"
        return "dry_run" if self.config.dry_run else "delete"

    def take_up(self, record: SweepRecord) -> None:
        """Take what an earlier process knew."""
        self.last_outcome = record.last_outcome
        self.last_start = record.last_start.timestamp() if record.last_start else None
        good = [run for run in record.history if _is_success(run)]
        if good:
            with suppress(ValueError):  # of an earlier version
                began = datetime.fromisoformat(str(good[-1].get("started_at")))
                self.last_success = began.timestamp()

    def hear(self, event: Event, at: float) -> None:
        """Count an event of this sweep.

        Args:
            event: The event.
            at: When it happened, in seconds since 1970.
        """
        match event:
            case SweepStarted():
                self.last_start = at
                self.deleted_in_run = 0
            case Surveyed():
                self.phases["survey"] += event.seconds
                self.expired_rows = event.expired_rows
            case BatchCommitted():
                self.delete(event.rows, at)
                self.archived += event.archived
                self.phases["delete"] += event.seconds - event.commit_seconds
                self.phases["commit"] += event.commit_seconds
            case BatchRolledBack():
                self.phases["rolled_back"] += event.seconds
            case Waited():
                cause = event.cause if event.cause in CAUSES else "other"
                self.waits[cause] = self.waits.get(cause, 0.0) + event.seconds
            case RunEnded():
                self.end(event, at)

    def delete(self, rows: int, at: float) -> None:
        """Take that rows were deleted and committed."""
        self.deleted += rows
        self.deleted_in_run += rows
        if rows:
            self.last_deletion = at
        if self.expired_rows is not None:
            self.expired_rows = max(self.expired_rows - rows, 0.0)

    def end(self, event: RunEnded, at: float) -> None:
        """Take that a run ended."""
        outcome = event.outcome or "failed"
        self.delete(max(event.deleted_count - self.deleted_in_run, 0), at)
        self.deleted_in_run = 0
        self.runs[outcome] += 1
        self.skipped += event.skipped_count
        self.last_outcome = outcome
        if _is_success({"outcome": outcome, "deleted_count": event.deleted_count}):
            self.last_success = at
        if event.backlog_estimate is not None:
            self.expired_rows = float(event.backlog_estimate)


def _is_success(run: Mapping[str, object]) -> bool:
    """Tell whether a run ended as it should, by its report."""
    outcome = run.get("outcome")
    return outcome == "drained" or (outcome in _LIMITED and bool(run.get("deleted_count")))


class Counts:
    """Hears the daemon's events; read from other threads, which copy what may grow.

    Args:
        clock: The host's.

    Attributes:
        sweeps: By name; those of the configuration in force only.
        databases: Whether each can be reached.
        reloads: By result.
        reloaded_at: When a configuration was last put in force.
        is_rejected: Whether the last one was rejected.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.sweeps: dict[str, SweepCounts] = {}
        self.databases: dict[str, bool] = {}
        self._configs: Mapping[str, DatabaseConfig] = {}
        self.reloads = Counter(accepted=0, rejected=0)
        self.reloaded_at = self._now()
        self.is_rejected = False

    def apply(self, config: Config, record: Callable[[str], SweepRecord]) -> None:
        """Count for the sweeps and databases of a configuration, and for no others.

        Args:
            config: The one in force.
            record: Returns the past of a sweep.
        """
        former = self.sweeps
        sweeps: dict[str, SweepCounts] = {}
        for name, sweep in config.sweeps.items():
            counts = former.get(name)
            if counts is None:
                counts = SweepCounts(sweep, self._now())
                counts.take_up(record(name))
            counts.config = sweep
            sweeps[name] = counts
        self.sweeps = sweeps
        # one with other settings is another database, of which nothing is known yet
        same = {name for name, one in config.databases.items() if self._configs.get(name) == one}
        self.databases = {
            name: name not in same or self.databases[name] for name in config.databases
        }
        self._configs = config.databases

    def hear(self, event: Event) -> None:
        """Count an event; what concerns a sweep that is gone is not counted."""
        match event:
            case DatabaseLost() | DatabaseBack():
                if event.database in self.databases:
                    self.databases[event.database] = isinstance(event, DatabaseBack)
            case ConfigReloaded():
                self.reloads["accepted"] += 1
                self.reloaded_at, self.is_rejected = self._now(), False
            case ConfigRejected():
                self.reloads["rejected"] += 1
                self.is_rejected = True
            case _:
                counts = self.sweeps.get(getattr(event, "sweep", ""))
                if counts is not None:
                    counts.hear(event, self._now())

    def _now(self) -> float:
        return self._clock.now().timestamp()
