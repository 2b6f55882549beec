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
    warnings: Sequence[str] | None = None
    error: str | None = None
    kept_referenced: int = 0
    remaining: Mapping[str, int] | None = None

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

    def sentence(self) -> str:
        if self.expired_count is not None:
            return f"Sweep {self.sweep} deleted nothing, {self.end_reason}"
        text = f"Sweep {self.sweep} {self.outcome}: {self.work()}"
        if self.cutoff_time:
            text += f", cutoff {self.cutoff_time}"
        return f"{text} ({self.end_reason})" if self.end_reason else text


@dataclass(frozen=True, kw_only=True)
class SweepRan(_Ran):
    """A run ended by itself, or was ended in order."""

    level = "info"


@dataclass(frozen=True, kw_only=True)
class SweepIncomplete(_Ran):
    """A whole pass is over and left rows or leaves that somebody can mend."""

    level = "warning"


@dataclass(frozen=True, kw_only=True)
class SweepTimedOut(RunEnded):
    """A run was ended by its timeout; what it left is taken up later."""

    name = "sweep_timed_out"
    level = "warning"

    def sentence(self) -> str:
        return f"Sweep {self.sweep} ran into its timeout: {self.work()}; it goes on later"


@dataclass(frozen=True, kw_only=True)
class SweepFailed(RunEnded):
    """A run could not do its work."""

    name = "sweep_failed"
    level = "error"

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

    sweep: str
    reason: str
    user: str | None = None

    def sentence(self) -> str:
        by = f" by {self.user}" if self.user else ""
        return f"Sweep {self.sweep} is released{by}{because(self.reason)}"


@dataclass(frozen=True)
class SweepCrashed(Event):
    """A run met a bug; the traceback is beside it.

    Attributes:
        sweep: The sweep's name.
    """

    name = "sweep_crashed"
    level = "error"

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

    sweep: str
    error: str

    def sentence(self) -> str:
        return f"The loop of sweep {self.sweep} died{because(self.error)}"
