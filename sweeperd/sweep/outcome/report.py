"""What a run did: it belongs to the caller and fills as the run goes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, Protocol

from sweeperd.errors import EXIT_FAILED, EXIT_OK
from sweeperd.log.safe_text import bounded
from sweeperd.sweep.outcome.memory import SweepMemory

Outcome = Literal[
    "drained", "timed_out", "capped", "yielded", "throttled", "held", "failed", "stopped"
]
_MOST_WARNINGS: Final = 100  # the state keeps the reports of many runs
# What is left over is taken up after catch_up.
LEFT_OVER: Final[frozenset[str]] = frozenset({"timed_out", "capped", "yielded", "throttled"})


class RunEndError(Exception):
    """The run ends here.

    Attributes:
        outcome: How it ends.
        reason: Why, as a sentence.
        exit_code: What a foreground run exits with when it failed.
        kinds: What a guard holds it for, by kind; empty for a hold that was set before.
    """

    def __init__(
        self,
        outcome: Outcome,
        reason: str,
        exit_code: int = EXIT_FAILED,
        *,
        kinds: tuple[str, ...] = (),
    ) -> None:
        super().__init__(bounded(reason))
        self.outcome = outcome
        self.reason = bounded(reason)
        self.exit_code = exit_code
        self.kinds = kinds


class Listener(Protocol):
    """Hears what happens in a run: an event of the design's, and its fields."""

    def __call__(self, event: str, **fields: Any) -> None:  # noqa: ANN401 - any field
        """Take one event."""


@dataclass
class Report:
    """One run's account. Counters move only after a COMMIT was answered.

    Attributes:
        sweep: The sweep's name.
        correlation_id: The run's id.
        cutoff_time: The database's instant that the run measures by; None before it is read.
        outcome: How it ended; None while it runs.
        strategy: index, heap, or both joined by "+".
        deleted_count: Rows deleted and committed.
        skipped_count: Expired rows left: locked by others, or refused by the database.
        batches: Batches committed.
        duration_seconds: Wall duration.
        reason: Why it ended as it did, or why the strategy was chosen.
        error: What failed, in words.
        exit_code: What a foreground run exits with.
        expired_estimate: With a dry run, expired rows counted (bounded).
        warnings: What the operator should know, each once.
        waited_seconds: Time waited, by reason.
        partitions: Leaves that were detached or dropped as a whole; their rows are not counted.
        deadline: When its timeout ends, on the event loop's clock; None while it waits for a
            connection.
        memory: What the next run needs (cursors, sizes, guards).
    """

    sweep: str
    correlation_id: str
    cutoff_time: datetime | None = None
    outcome: Outcome | None = None
    strategy: str | None = None
    deleted_count: int = 0
    skipped_count: int = 0
    batches: int = 0
    duration_seconds: float = 0.0
    reason: str | None = None
    error: str | None = None
    exit_code: int = EXIT_OK
    expired_count: int | None = None
    warnings: list[str] = field(default_factory=list)
    waited_seconds: dict[str, float] = field(default_factory=dict)
    plan: list[str] = field(default_factory=list)
    memory: SweepMemory = field(default_factory=SweepMemory)
    partitions: list[str] = field(default_factory=list)
    deadline: float | None = None

    @property
    def left_over(self) -> bool:
        """Whether the next run should come after ``catch_up``."""
        return self.outcome in LEFT_OVER

    def finish(self, outcome: Outcome, reason: str | None = None) -> None:
        """Set the outcome once; the first word stands."""
        if self.outcome is None:
            self.outcome = outcome
            self.reason = bounded(reason or self.reason or "") or None

    def fail(self, error: str, exit_code: int = EXIT_FAILED) -> None:
        """Set the outcome to failed, with what failed."""
        if self.outcome is None:
            self.error = bounded(error)
            self.exit_code = exit_code
            self.finish("failed", error)

    def end(self, end: RunEndError) -> None:
        """End as a part of the run said."""
        if end.outcome == "failed":
            self.fail(end.reason, end.exit_code)
        else:
            self.finish(end.outcome, end.reason)

    def warn(self, text: str) -> None:
        """Note a warning once, cut to size."""
        text = bounded(text)
        if text not in self.warnings and len(self.warnings) < _MOST_WARNINGS:
            self.warnings.append(text)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON-able fields."""
        cutoff = self.cutoff_time
        fields: dict[str, Any] = {
            "sweep": self.sweep,
            "correlation_id": self.correlation_id,
            "cutoff_time": cutoff.isoformat() if cutoff else None,
            "outcome": self.outcome,
            "strategy": self.strategy,
            "deleted_count": self.deleted_count,
            "skipped_count": self.skipped_count,
            "batches": self.batches,
            "duration_seconds": round(self.duration_seconds, 3),
            "reason": self.reason,
        }
        if self.expired_count is not None:
            fields["expired_count"] = self.expired_count
        if self.partitions:
            fields["partitions"] = list(self.partitions)
        if self.warnings:
            fields["warnings"] = list(self.warnings)
        if self.error is not None:
            fields["error"] = self.error
        return fields
