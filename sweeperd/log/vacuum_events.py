"""Events after a large run: what becomes of the dead rows."""

from __future__ import annotations

from dataclasses import dataclass

from sweeperd.log.event import Event, because


@dataclass(frozen=True)
class AutovacuumExpected(Event):
    """After a large run, autovacuum will be triggered.

    Attributes:
        sweep: The sweep's name.
        table: The table, qualified.
        reason: Why.
    """

    name = "autovacuum_expected"
    level = "debug"
    message_id = "9189ddd1753d4991add6b9e9cf904860"

    sweep: str
    table: str
    reason: str

    def sentence(self) -> str:
        return f"Autovacuum will be triggered for {self.table}{because(self.reason)}"


@dataclass(frozen=True)
class AutovacuumNotDue(Event):
    """After a large run, the dead rows are fewer than autovacuum's threshold.

    Attributes:
        sweep: The sweep's name.
        table: The table, qualified.
        reason: The two numbers.
        statement: What to run where the room is wanted now.
    """

    name = "autovacuum_not_due"
    level = "info"
    message_id = "8add5a71b9d244faa3700111d924920c"

    sweep: str
    table: str
    reason: str
    statement: str

    def sentence(self) -> str:
        return (
            f"Autovacuum will not be triggered for {self.table} yet{because(self.reason)}; "
            f"to vacuum it now: {self.statement}"
        )


@dataclass(frozen=True)
class VacuumAdvised(Event):
    """After a large run, autovacuum will never be triggered: it is off.

    Attributes:
        sweep: The sweep's name.
        table: The table, qualified.
        reason: Why not.
        statement: What to run.
    """

    name = "vacuum_advised"
    level = "warning"
    message_id = "98c3978e125c4b06ae306e92f504604c"

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
    message_id = "eb9d67a832774294b9c4d3fe204f6890"

    sweep: str
    table: str
    reason: str
    seconds: float

    def sentence(self) -> str:
        return (
            f"Table {self.table} was vacuumed in {self.seconds} s, autovacuum would not have been "
            f"triggered{because(self.reason)}"
        )
