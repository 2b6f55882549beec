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
    """

    name = "batch_committed"
    level = "debug"

    sweep: str
    lane: str
    rows: int
    seconds: float

    def sentence(self) -> str:
        rows = counted(self.rows, "row")
        return f"Sweep {self.sweep} deleted {rows} of lane {self.lane} in {self.seconds} s"


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

    sweep: str
    partition: str
    reason: str

    def sentence(self) -> str:
        return f"Partition {self.partition} is dropped{because(self.reason)}"


@dataclass(frozen=True)
class AutovacuumExpected(Event):
    """After a large run, autovacuum will be triggered.

    Attributes:
        sweep: The sweep's name.
        table: The table, qualified.
        reason: Why.
    """

    name = "autovacuum_expected"
    level = "info"

    sweep: str
    table: str
    reason: str

    def sentence(self) -> str:
        return f"Autovacuum will be triggered for {self.table}{because(self.reason)}"


@dataclass(frozen=True)
class VacuumAdvised(Event):
    """After a large run, autovacuum will not be triggered.

    Attributes:
        sweep: The sweep's name.
        table: The table, qualified.
        reason: Why not.
        statement: What to run.
    """

    name = "vacuum_advised"
    level = "warning"

    sweep: str
    table: str
    reason: str
    statement: str

    def sentence(self) -> str:
        return (
            f"Autovacuum will not be triggered for {self.table}{because(self.reason)}; "
            f"run {self.statement}"
        )


@dataclass(frozen=True)
class TableVacuumed(Event):
    """After a large run, the table was vacuumed, for autovacuum would not have been triggered.

    Attributes:
        sweep: The sweep's name.
        table: The table, qualified.
        reason: Why it would not.
        seconds: How long it took.
    """

    name = "table_vacuumed"
    level = "info"

    sweep: str
    table: str
    reason: str
    seconds: float

    def sentence(self) -> str:
        return (
            f"Table {self.table} was vacuumed in {self.seconds} s, autovacuum would not have been "
            f"triggered{because(self.reason)}"
        )
