"""What ties a sweep's loop to its settings, its database and its past."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from sweeperd.daemon.schedule import Timetable

if TYPE_CHECKING:
    from sweeperd.config.models import SweepConfig
    from sweeperd.daemon.reachability import Outage
    from sweeperd.daemon.state.record import SweepRecord
    from sweeperd.daemon.state.runs import Run
    from sweeperd.log.event import Listener
    from sweeperd.sweep.options import RunOptions
    from sweeperd.sweep.outcome.report import Report


class RunSweep(Protocol):
    """Runs a sweep once, within its timeout, and fills the report; raises only when cancelled."""

    async def __call__(
        self,
        sweep: SweepConfig,
        report: Report,
        options: RunOptions,
        listener: Listener,
    ) -> None:
        """Run, as asked for."""


class Records(Protocol):
    """Where the supervisor leaves what must outlive the process."""

    def record(self, name: str) -> SweepRecord:
        """Return a sweep's record."""

    def note(self, name: str, record: SweepRecord, run: Run | None = None) -> None:
        """Keep a record, and the run that has ended."""

    def touch(self, name: str) -> None:
        """Write soon: a record's memory has moved on."""

    def run(self, name: str) -> AbstractAsyncContextManager[None]:
        """Surround a run; the record has by then what a foreground run has saved."""


@dataclass(frozen=True)
class SweepSpec:
    """What a sweep needs of the configuration in force; a reload replaces it whole.

    Attributes:
        sweep: Its settings.
        run: Runs it on its database.
        outage: Whether that database is away.
        after: Sweeps that go before this one.
    """

    sweep: SweepConfig
    run: RunSweep
    outage: Outage
    after: tuple[str, ...] = ()

    @property
    def interval_seconds(self) -> float:
        """Return the interval; whole seconds are an integer, for the log's sake."""
        seconds = self.sweep.interval.total_seconds()
        return int(seconds) if seconds.is_integer() else seconds

    @property
    def timetable(self) -> Timetable:
        """Return what the settings say about starts."""
        return Timetable(
            interval=self.sweep.interval.total_seconds(),
            catch_up=self.sweep.catch_up.total_seconds(),
            jitter=self.sweep.jitter.total_seconds(),
            window=self.sweep.window,
        )
