"""Events of a sweep: its schedule, its holds, its runs and how they end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sweeperd.log.event import Event, because, counted


@dataclass(frozen=True)
class SweepScheduled(Event):
    """A sweep's loop began, or goes on with other settings.

    Attributes:
        sweep: Its name.
        interval_seconds: From start to start.
        next_run: When the next run starts.
        first_run: Whether it never ran before.
    """

    name = "sweep_scheduled"
    level = "info"
    message_id = "7096e459392a4b91bd79f2d568a8b951"

    sweep: str
    interval_seconds: float
    next_run: datetime
    first_run: bool

    def sentence(self) -> str:
        first = ", for the first time" if self.first_run else ""
        return (
            f"Sweep {self.sweep} runs every {self.interval_seconds} s, "
            f"next at {self.next_run}{first}"
        )


@dataclass(frozen=True)
class SweepStarted(Event):
    """A run begins.

    Attributes:
        sweep: The sweep's name.
        correlation_id: The run's id.
    """

    name = "sweep_started"
    level = "info"
    message_id = "3e306b1cd8d04ffe93ea7503d9862986"

    sweep: str
    correlation_id: str

    def sentence(self) -> str:
        return f"Sweep {self.sweep} begins, run {self.correlation_id}"


@dataclass(frozen=True, kw_only=True)
class RunEnded(Event):
    """A run is over; each run has exactly one event of this kind.

    Attributes:
        sweep: The sweep's name.
        correlation_id: The run's id.
        cutoff_time: What it measured by, ISO 8601; None when it was not read.
        outcome: How it ended.
        strategy: index, heap, or both joined by "+"; None when none was chosen.
        strategy_reason: Why, or for how many leaves.
        deleted_count: Rows deleted and committed.
        skipped_count: Expired rows that were left.
        kept_referenced: How many of these only foreign keys keep.
        remaining: How many by reason, after a whole pass that left some.
        batches: Batches committed.
        duration_seconds: Wall duration.
        end_reason: Why it ended so, as a sentence; None where the outcome says it all.
        expired_count: Expired rows that a dry run counted.
        partitions: Leaves that were detached or dropped whole.
        backlog_estimate: Expired rows that are still there, estimated.
        retention_lag_seconds: Age of the oldest expired row after the run.
        warnings: What the operator should know.
        error: What failed.
    """

    sweep: str
    correlation_id: str
    cutoff_time: str | None
    outcome: str | None
    strategy: str | None
    deleted_count: int
    skipped_count: int
    batches: int
    duration_seconds: float
    end_reason: str | None
    strategy_reason: str | None = None
    expired_count: int | None = None
    partitions: Sequence[str] | None = None
    backlog_estimate: int | None = None
    retention_lag_seconds: float | None = None
    warnings: Sequence[str] | None = None
    error: str | None = None
    kept_referenced: int = 0
    remaining: Mapping[str, int] | None = None

    def topic(self) -> tuple[object, ...]:
        """Return the sweep: the end of a run replaces that of the run before."""
        return ("run_ended", self.sweep)

    def news(self) -> tuple[object, ...]:
        """Return how the run ended, and what failed."""
        return (self.name, self.outcome, self.error)

    def work(self) -> str:
        """Return what the run did, as a part of its sentence."""
        text = f"{counted(self.deleted_count, 'row')} deleted"
        if self.skipped_count:
            text += f", {self.skipped_count} skipped"
        if self.kept_referenced:
            text += f" ({self.kept_referenced} kept by foreign keys)"
        text += f" in {counted(self.batches, 'batch')}"
        return text if self.duration_seconds is None else f"{text}, {self.duration_seconds} s"


@dataclass(frozen=True, kw_only=True)
class _Ran(RunEnded):
    name = "sweep_ran"
    message_id = "696b5ee58c6b42cf9c8b2a614a675b67"

    def sentence(self) -> str:
        if self.expired_count is not None:
            return f"Sweep {self.sweep} deleted nothing, {self.end_reason}"
        text = f"Sweep {self.sweep} {self.outcome}: {self.work()}"
        if self.cutoff_time:
            text += f", cutoff {self.cutoff_time}"
        return f"{text} ({self.end_reason})" if self.end_reason else text


@dataclass(frozen=True, kw_only=True)
class SweepIncomplete(_Ran):
    """A whole pass is over and left rows or leaves that somebody can mend."""

    level = "warning"


@dataclass(frozen=True, kw_only=True)
class SweepRan(_Ran):
    """A run ended by itself, or was ended in order."""

    level = "info"


@dataclass(frozen=True, kw_only=True)
class SweepTimedOut(RunEnded):
    """A run was ended by its timeout; what it left is taken up later."""

    name = "sweep_timed_out"
    level = "warning"
    message_id = "52d54d17ccc14353ad6f1b85628b6843"

    def sentence(self) -> str:
        return f"Sweep {self.sweep} ran into its timeout: {self.work()}; it goes on later"


@dataclass(frozen=True, kw_only=True)
class SweepFailed(RunEnded):
    """A run could not do its work."""

    name = "sweep_failed"
    level = "error"
    message_id = "cb88c854e2f94b0eb649f9959298c7a4"

    def sentence(self) -> str:
        why = self.error or self.end_reason or "no reason known"
        return f"Sweep {self.sweep} failed: {why} ({self.work()})"


@dataclass(frozen=True)
class SweepThrottled(Event):
    """A run waits because the server is unwell or busy with others.

    Attributes:
        sweep: The sweep's name.
        reason: Why.
        seconds: How long the first wait is.
    """

    name = "sweep_throttled"
    level = "warning"
    message_id = "8f9d146a00734f8096aa424fce89a18c"

    sweep: str
    reason: str
    seconds: float

    def sentence(self) -> str:
        return f"Sweep {self.sweep} waits{because(self.reason)}"


@dataclass(frozen=True)
class SweepWaits(Event):
    """A run that is due waits for other sweeps.

    Attributes:
        sweep: The sweep's name.
        reason: Which, or for what.
    """

    name = "sweep_waits"
    level = "info"
    message_id = "e081fa2f29644baab05e2d2706089bf5"

    sweep: str
    reason: str

    def sentence(self) -> str:
        return f"Sweep {self.sweep} is waiting{because(self.reason)}"


@dataclass(frozen=True)
class SweepHeld(Event):
    """A hold is in force: nothing is deleted.

    Attributes:
        sweep: The sweep's name.
        reason: Why.
        by: Who set it; None when nobody said.
        since: When it was set.
        until: When it ends by itself.
        key: The configuration keys that tune the guard which set it.
        release: The command that removes it.
    """

    name = "sweep_held"
    level = "warning"
    message_id = "8b389e61477d42629ce3333fff4e6569"

    sweep: str
    reason: str
    by: str | None
    since: str | None
    until: str | None
    key: str | None
    release: str

    def sentence(self) -> str:
        text = f"Sweep {self.sweep} is held, nothing is deleted{because(self.reason)}"
        for words, value in (("set by", self.by), ("since", self.since), ("until", self.until)):
            if value:
                text += f", {words} {value}"
        if self.key:
            text += f"; the key {self.key} tunes this guard"
        return f"{text}; to release it: {self.release}" if self.release else text


@dataclass(frozen=True)
class SweepReleased(Event):
    """A hold was removed or has ended, or a run passes what a release allowed.

    Attributes:
        sweep: The sweep's name.
        reason: What it was held for.
        user: Who released it.
    """

    name = "sweep_released"
    level = "info"
    message_id = "ab99aef99eaf429c8b2b74334ce84d21"

    sweep: str
    reason: str
    user: str | None = None

    def sentence(self) -> str:
        by = f" by {self.user}" if self.user else ""
        return f"Sweep {self.sweep} is released{by}{because(self.reason)}"


@dataclass(frozen=True)
class SweepBehind(Event):
    """Expired rows stay longer than they may; told when it begins, and once a day.

    Attributes:
        sweep: The sweep's name.
        retention_lag_seconds: Age of the oldest expired row, or how long nothing is known of it.
        max_retention_lag_seconds: The age beyond which the sweep is behind.
        reason: What is known of the cause.
    """

    name = "sweep_behind"
    level = "warning"
    message_id = "0b96c70aac6a459fb42ed6027ab7ff6c"

    sweep: str
    retention_lag_seconds: float
    max_retention_lag_seconds: float
    reason: str

    def sentence(self) -> str:
        return (
            f"Sweep {self.sweep} is behind: expired rows stay for "
            f"{self.retention_lag_seconds:.0f} s, max_retention_lag is "
            f"{self.max_retention_lag_seconds:.0f} s{because(self.reason)}"
        )


@dataclass(frozen=True)
class SweepCaughtUp(Event):
    """A sweep that was behind is not any more.

    Attributes:
        sweep: The sweep's name.
        retention_lag_seconds: Age of the oldest expired row.
    """

    name = "sweep_caught_up"
    level = "info"
    message_id = "4ae04890526344619cd5a45adffcff4c"

    sweep: str
    retention_lag_seconds: float

    def sentence(self) -> str:
        return (
            f"Sweep {self.sweep} has caught up: expired rows stay for "
            f"{self.retention_lag_seconds:.0f} s"
        )


@dataclass(frozen=True)
class SweepCrashed(Event):
    """A run met a bug; the traceback is beside it.

    Attributes:
        sweep: The sweep's name.
    """

    name = "sweep_crashed"
    level = "error"
    message_id = "f765032d015e4ef199ee9525fd35c4bf"

    sweep: str

    def sentence(self) -> str:
        return f"Sweep {self.sweep} failed because of a bug in sweeperd"


@dataclass(frozen=True)
class SweepLoopDied(Event):
    """A sweep's loop met a bug and runs no more.

    Attributes:
        sweep: The sweep's name.
        error: What it met.
    """

    name = "sweep_loop_died"
    level = "error"
    message_id = "1b6843c02caf45c6ab959d3bf7e028ae"

    sweep: str
    error: str

    def sentence(self) -> str:
        return f"The loop of sweep {self.sweep} died{because(self.error)}"
