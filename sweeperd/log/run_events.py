"""Events in the middle of a run: batches, waits, and what it finds on its way."""

from __future__ import annotations

from dataclasses import dataclass

from sweeperd.log.event import Event, because, counted


@dataclass(frozen=True)
class BatchCommitted(Event):
    """A batch's COMMIT was answered.

    Attributes:
        sweep: The sweep's name.
        lane: The lane that it belongs to.
        rows: Rows deleted.
        seconds: From BEGIN to the answer to COMMIT.
        commit_seconds: The part of them that COMMIT took.
        archived: The part of the rows that an archive has.
    """

    name = "batch_committed"
    level = "debug"
    message_id = "8d644d71c6034895b090b0bebbd0a1c9"

    sweep: str
    lane: str
    rows: int
    seconds: float
    commit_seconds: float = 0.0
    archived: int = 0

    def sentence(self) -> str:
        rows = counted(self.rows, "row")
        return f"Sweep {self.sweep} deleted {rows} of lane {self.lane} in {self.seconds} s"


@dataclass(frozen=True)
class BatchRolledBack(Event):
    """A batch failed, and nothing of it was committed; the run tries again or ends.

    Attributes:
        sweep: The sweep's name.
        seconds: From BEGIN to the end of it.
        reason: What it met.
    """

    name = "batch_rolled_back"
    level = "debug"
    message_id = "ab33fb72f7ce45b294705e6649c451a7"

    sweep: str
    seconds: float
    reason: str

    def sentence(self) -> str:
        return (
            f"Sweep {self.sweep} rolled a batch back after {self.seconds} s{because(self.reason)}"
        )


@dataclass(frozen=True)
class ConnectionLost(Event):
    """A batch lost its connection; the run makes another one and goes on.

    Attributes:
        sweep: The sweep's name.
        database: Its name in the configuration.
        reason: What the batch met.
    """

    name = "connection_lost"
    level = "info"
    message_id = "9b8005aec81843a58aded515ac493be4"

    sweep: str
    database: str
    reason: str

    def sentence(self) -> str:
        return (
            f"A batch of sweep {self.sweep} lost its connection to database {self.database}"
            f"{because(self.reason)}"
        )


@dataclass(frozen=True)
class Surveyed(Event):
    """A run has looked at its table.

    Attributes:
        sweep: The sweep's name.
        seconds: How long that took.
        expired_rows: How many rows are expired, estimated from a sample; None when the sample
            tells nothing of their number.
    """

    name = "surveyed"
    level = "debug"
    message_id = "1e7ff32bb0b944f58cf456ebb18ee5ee"

    sweep: str
    seconds: float
    expired_rows: float | None = None

    def sentence(self) -> str:
        text = f"Sweep {self.sweep} surveyed its table in {self.seconds} s"
        return (
            text
            if self.expired_rows is None
            else f"{text}: about {self.expired_rows:.0f} expired rows"
        )


@dataclass(frozen=True)
class Waited(Event):
    """A wait of a run is over.

    Attributes:
        sweep: The sweep's name.
        cause: What for, one of few words.
        seconds: How long.
    """

    name = "waited"
    level = "debug"
    message_id = "c7ed9c8ac8ca449fb1ea603185408e93"

    sweep: str
    cause: str
    seconds: float

    def sentence(self) -> str:
        return f"Sweep {self.sweep} waited for {self.seconds} s{because(self.cause)}"


@dataclass(frozen=True)
class Waiting(Event):
    """A run waits between two batches.

    Attributes:
        sweep: The sweep's name.
        reason: What for.
        seconds: How long.
    """

    name = "waiting"
    level = "debug"
    message_id = "8de7992271244a4fb5cb21547b2e85d7"

    sweep: str
    reason: str
    seconds: float

    def sentence(self) -> str:
        return f"Sweep {self.sweep} waits for {self.seconds} s{because(self.reason)}"


@dataclass(frozen=True)
class RowSkipped(Event):
    """The database refuses to delete a row.

    Attributes:
        sweep: The sweep's name.
        table: The table, qualified and quoted.
        key: The row's key, or its place.
        reason: What the database says.
    """

    name = "row_skipped"
    level = "warning"
    message_id = "f61b0f80650e41e297fbfbfef69ebb19"

    sweep: str
    table: str
    key: str
    reason: str

    def sentence(self) -> str:
        key = f" {self.key}" if self.key else ""
        return f"Sweep {self.sweep} steps over a row{key}{because(self.reason)}"


@dataclass(frozen=True)
class SweepWarning(Event):
    """Something that the operator should know, and that stops nothing.

    Attributes:
        sweep: The sweep's name.
        reason: What.
    """

    name = "sweep_warning"
    level = "warning"
    message_id = "432c3f742c1e4c6d9bd519ea6f90a686"

    sweep: str
    reason: str

    def sentence(self) -> str:
        return f"Sweep {self.sweep}{because(self.reason)}"


@dataclass(frozen=True)
class LeafSetAside(Event):
    """A leaf cannot be swept in this run; the others go on.

    Attributes:
        sweep: The sweep's name.
        leaf: The leaf, qualified.
        reason: Why.
    """

    name = "leaf_set_aside"
    level = "warning"
    message_id = "8fb9f44ec01642f5b0245aa9d4ca5244"

    sweep: str
    leaf: str
    reason: str

    def sentence(self) -> str:
        return f"Sweep {self.sweep} leaves {self.leaf} out of this run{because(self.reason)}"


@dataclass(frozen=True)
class StrategyChanged(Event):
    """What was read contradicts the choice of the strategy.

    Attributes:
        sweep: The sweep's name.
        strategy: The one from now on.
        reason: Why.
    """

    name = "strategy_changed"
    level = "info"
    message_id = "38513d305e9e4507a6a9c997dba2daef"

    sweep: str
    strategy: str
    reason: str

    def sentence(self) -> str:
        return f"Sweep {self.sweep} goes on with {self.strategy}{because(self.reason)}"


@dataclass(frozen=True)
class PartitionDetached(Event):
    """A partition that was entirely expired is a table of its own now.

    Attributes:
        sweep: The sweep's name.
        partition: The partition, qualified and quoted.
        reason: Why.
    """

    name = "partition_detached"
    level = "info"
    message_id = "5ebf742021b24b2fae480dbec602fd4e"

    sweep: str
    partition: str
    reason: str

    def sentence(self) -> str:
        return f"Partition {self.partition} is detached{because(self.reason)}"


@dataclass(frozen=True)
class PartitionDropped(Event):
    """A partition that was entirely expired is gone.

    Attributes:
        sweep: The sweep's name.
        partition: The partition, qualified and quoted.
        reason: Why.
    """

    name = "partition_dropped"
    level = "info"
    message_id = "337c7d6e012d4ccaa421f7896aec6203"

    sweep: str
    partition: str
    reason: str

    def sentence(self) -> str:
        return f"Partition {self.partition} is dropped{because(self.reason)}"
