"""What a run did: it belongs to the caller and fills as the run goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from sweeperd.errors import EXIT_FAILED, EXIT_OK
from sweeperd.log.events import RunEnded, SweepFailed, SweepIncomplete, SweepRan, SweepTimedOut
from sweeperd.log.safe_text import bounded
from sweeperd.sweep.outcome.lag import RetentionLag
from sweeperd.sweep.outcome.memory import SweepMemory
from sweeperd.sweep.outcome.remaining import Remaining, counts, describe

Outcome = Literal[
    "drained",
    "incomplete",
    "timed_out",
    "capped",
    "yielded",
    "throttled",
    "held",
    "failed",
    "stopped",
]
_MOST_WARNINGS: Final = 100  # the state keeps the reports of many runs
# A run that ends so has been over all that was expired at its pass's cutoff; what it left, it set
# aside.
WHOLE_PASS: Final[frozenset[str]] = frozenset({"drained", "incomplete"})
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


class LeafSetAsideError(RunEndError):
    """One leaf cannot be swept now; the run goes on with the others.

    Attributes:
        leaf: Key of the leaf in the pass; None for the one at hand.
        passes: Whether the reason may pass within this run, as a lock does.
        rewritten: Whether only its rows lie in another file now.
    """

    def __init__(
        self,
        outcome: Outcome,
        reason: str,
        *,
        leaf: str | None = None,
        passes: bool = False,
        rewritten: bool = False,
    ) -> None:
        super().__init__(outcome, reason)
        self.leaf = leaf
        self.passes = passes
        self.rewritten = rewritten


@dataclass(frozen=True)
class LeafPlan:
    """How one leaf is swept.

    Attributes:
        leaf: The leaf, qualified.
        strategy: index or heap.
        reason: Why.
    """

    leaf: str
    strategy: str
    reason: str

    def __str__(self) -> str:
        return f"{self.leaf}: {self.strategy}: {self.reason}"


@dataclass
class Report:
    """One run's account. Counters move only after a COMMIT was answered.

    Attributes:
        sweep: The sweep's name.
        correlation_id: The run's id.
        cutoff_time: The database's instant that the run measures by; None before it is read.
        outcome: How it ended; None while it runs.
        deleted_count: Rows deleted and committed.
        skipped_count: Expired rows left where they are: the sum of ``remaining`` once a pass is
            over, until then what was stepped over so far.
        remaining: What a whole pass left behind, and why.
        batches: Batches committed.
        duration_seconds: Wall duration.
        end_reason: Why it ended so; None where the outcome says it all.
        error: What failed, in words.
        exit_code: What a foreground run exits with.
        expired_count: With a dry run, expired rows counted (bounded).
        warnings: What the operator should know, each once.
        waited_seconds: Time waited, by reason.
        plan: How each leaf is swept; one that changed its strategy has two entries.
        partitions: Leaves that were detached or dropped as a whole; their rows are not counted.
        expired_estimate: Expired rows that the survey estimated; None before it, or when it could
            not tell.
        backlog: Expired rows that a sample told of when the run was over; None when nobody looked.
        retention_lag: How far the sweep was behind when the run was over; None when nobody looked.
        deadline: When its timeout ends, on the event loop's clock; None while it waits for a
            connection.
        memory: What the next run needs (cursors, sizes, guards).
    """

    sweep: str
    correlation_id: str
    cutoff_time: datetime | None = None
    outcome: Outcome | None = None
    deleted_count: int = 0
    skipped_count: int = 0
    remaining: tuple[Remaining, ...] = ()
    batches: int = 0
    duration_seconds: float = 0.0
    end_reason: str | None = None
    error: str | None = None
    exit_code: int = EXIT_OK
    expired_count: int | None = None
    warnings: list[str] = field(default_factory=list)
    waited_seconds: dict[str, float] = field(default_factory=dict)
    plan: list[LeafPlan] = field(default_factory=list)
    memory: SweepMemory = field(default_factory=SweepMemory)
    partitions: list[str] = field(default_factory=list)
    expired_estimate: int | None = None
    backlog: int | None = None
    retention_lag: RetentionLag | None = None
    deadline: float | None = None

    @property
    def kept_referenced(self) -> int:
        """Rows that only foreign keys keep: parents with live children, no trouble."""
        return sum(one.rows for one in self.remaining if one.reason == "referenced")

    def conclude(self, remaining: Sequence[Remaining]) -> None:
        """End a whole pass: drained when it left nothing that somebody can mend."""
        self.remaining = tuple(remaining)
        self.skipped_count = sum(one.rows for one in remaining)
        told = describe(remaining)
        if all(one.reason == "referenced" for one in remaining):
            self.finish("drained", told or None)
        else:
            self.exit_code = EXIT_FAILED
            self.finish("incomplete", told)

    @property
    def strategy(self) -> str | None:
        """The strategies of all leaves, joined by "+"; None before they are chosen."""
        return "+".join(sorted({leaf.strategy for leaf in self.plan})) or None

    @property
    def strategy_reason(self) -> str | None:
        """Why that strategy, or for how many leaves."""
        leaves = {leaf.leaf for leaf in self.plan}
        if len(leaves) > 1:
            return f"{len(leaves)} leaves"
        return self.plan[-1].reason if self.plan else None

    @property
    def backlog_estimate(self) -> int | None:
        """Expired rows that are still there, estimated; None when nobody knows."""
        if self.expired_count is not None:
            return self.expired_count
        if self.outcome == "drained":
            return 0
        if self.backlog is not None:
            return self.backlog
        if self.expired_estimate is None:
            return None
        return max(self.expired_estimate - self.deleted_count, 0)

    @property
    def left_over(self) -> bool:
        """Whether the next run should come after ``catch_up``.

        A run that only stepped over rows waits for the interval; a lock on a leaf may be gone soon.
        """
        return self.outcome in LEFT_OVER or any(one.passes for one in self.remaining)

    def finish(self, outcome: Outcome, reason: str | None = None) -> None:
        """Set the outcome once; the first word stands."""
        if self.outcome is None:
            self.outcome = outcome
            self.end_reason = bounded(reason) if reason else None

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

    def ended(self) -> RunEnded:
        """Return the one event that tells how the run ended."""
        kind: type[RunEnded] = SweepRan
        if self.outcome == "incomplete":
            kind = SweepIncomplete
        elif self.outcome == "failed" or self.outcome is None:
            kind = SweepFailed
        elif self.outcome == "timed_out":
            kind = SweepTimedOut
        return kind(
            sweep=self.sweep,
            correlation_id=self.correlation_id,
            cutoff_time=self.cutoff_time.isoformat() if self.cutoff_time else None,
            outcome=self.outcome,
            strategy=self.strategy,
            deleted_count=self.deleted_count,
            skipped_count=self.skipped_count,
            kept_referenced=self.kept_referenced,
            remaining=counts(self.remaining) or None,
            batches=self.batches,
            duration_seconds=round(self.duration_seconds, 3),
            end_reason=self.end_reason,
            strategy_reason=self.strategy_reason,
            expired_count=self.expired_count,
            partitions=list(self.partitions) or None,
            backlog_estimate=self.backlog_estimate,
            retention_lag_seconds=self.retention_lag.seconds if self.retention_lag else None,
            warnings=list(self.warnings) or None,
            error=self.error,
        )

    def as_json(self) -> dict[str, object]:
        """Return the report as JSON-able fields."""
        return self.ended().as_fields()
