"""A sweep without a database: settings, a runner that does as told, and records in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sweeperd.daemon.binding import SweepSpec
from sweeperd.daemon.reachability import Outage
from sweeperd.daemon.state.record import SweepRecord
from sweeperd.daemon.supervisor import Supervisor
from sweeperd.errors import EXIT_UNAVAILABLE, DatabaseUnreachableError
from sweeperd.sweep.guards.hold_file import Holds
from sweeperd.sweep.outcome.lag import RetentionLag

if TYPE_CHECKING:
    from sweeperd.config.models import Config, DatabaseConfig, SweepConfig
    from sweeperd.daemon.schedule import WallWindow
    from sweeperd.daemon.state.runs import Run
    from sweeperd.log.event import Listener
    from sweeperd.sweep.options import RunOptions
    from sweeperd.sweep.outcome.report import Report
    from tests.daemon.fake_clock import FakeClock

HOUR = 3600.0


@dataclass(frozen=True)
class Settings:
    """The part of a sweep's settings that the daemon itself reads."""

    name: str = "sessions"
    database: str = "app"
    interval: timedelta = timedelta(hours=6)
    timeout: timedelta = timedelta(seconds=30)
    catch_up: timedelta = timedelta(minutes=1)
    jitter: timedelta = timedelta()
    window: WallWindow | None = None
    enabled: bool = True
    dry_run: bool = False
    before: tuple[str, ...] = ()
    table: str = "public.sessions"
    column: str = "expires_at"
    condition: str | None = None
    limit: timedelta | None = None

    @property
    def longest_retention_lag(self) -> timedelta:
        return self.limit or 2 * self.interval + self.timeout


@dataclass(frozen=True)
class DatabaseSettings:
    name: str = "app"
    dsn: str = "postgresql:///app"


def sweep_config(**changes: Any) -> SweepConfig:
    return cast("SweepConfig", Settings(**changes))


@dataclass(frozen=True)
class Whole:
    """A configuration."""

    sweeps: dict[str, SweepConfig]
    databases: dict[str, DatabaseSettings]


def config(*sweeps: SweepConfig, databases: tuple[DatabaseSettings, ...] = ()) -> Config:
    known = databases or (DatabaseSettings(),)
    return cast(
        "Config",
        Whole({one.name: one for one in sweeps}, {one.name: one for one in known}),
    )


class Memory:
    """Records that live as long as the test."""

    def __init__(self, **records: SweepRecord) -> None:
        self.records = records
        self.runs: list[Run] = []
        self.touched = 0

    def record(self, name: str) -> SweepRecord:
        return self.records.get(name, SweepRecord())

    def note(self, name: str, record: SweepRecord, run: Run | None = None) -> None:
        self.records[name] = record
        self.runs += [run] if run is not None else []

    def touch(self, name: str) -> None:  # noqa: ARG002 - as the ledger's
        self.touched += 1

    @asynccontextmanager
    async def run(self, name: str) -> AsyncIterator[None]:  # noqa: ARG002 - as the ledger's
        yield


@dataclass
class Call:
    """What a scripted run was given."""

    sweep: SweepConfig
    report: Report
    options: RunOptions
    listener: Listener

    @property
    def stop(self) -> asyncio.Event:
        return self.options.stop

    @property
    def released(self) -> Collection[str]:
        return self.options.released


Behaviour = Callable[[Call], Awaitable[None]]


@dataclass
class ScriptedLink:
    """A database that behaves as the test says, run by run; the last behaviour stays."""

    clock: FakeClock
    behaviours: list[Behaviour] = field(default_factory=list)
    reachable: bool = True
    starts: list[float] = field(default_factory=list)
    probes: list[float] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    lags: list[float | None] = field(default_factory=list)
    measured: list[tuple[str, float]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0

    async def probe(self) -> None:
        self.probes.append(self.clock.elapsed())
        if not self.reachable:
            raise DatabaseUnreachableError("database app: cannot connect")

    async def measure_lags(self, sweeps: Sequence[SweepConfig]) -> dict[str, RetentionLag]:
        """Tell the next of ``lags``; the last one stays."""
        if not self.reachable:
            raise DatabaseUnreachableError("database app: cannot connect")
        self.measured += [(one.name, self.clock.elapsed()) for one in sweeps]
        seconds = self.lags[0] if self.lags else 0.0
        if len(self.lags) > 1:
            self.lags.pop(0)
        lag = RetentionLag(seconds, reason=None if seconds is not None else "no such table")
        return {one.name: lag for one in sweeps}

    async def run(
        self,
        sweep: SweepConfig,
        report: Report,
        options: RunOptions,
        listener: Listener,
    ) -> None:
        call = Call(sweep, report, options, listener)
        report.deadline = asyncio.get_running_loop().time() + sweep.timeout.total_seconds()
        self.starts.append(self.clock.elapsed())
        self.calls.append(call)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if not self.reachable:
                report.fail("database app: cannot connect", EXIT_UNAVAILABLE)
                return
            report.cutoff_time = self.clock.now()
            behaviour = self.behaviours[0] if self.behaviours else drains
            if len(self.behaviours) > 1:
                self.behaviours.pop(0)
            await behaviour(call)
        finally:
            self.at_once -= 1


async def drains(call: Call) -> None:
    call.report.deleted_count, call.report.batches = 3, 1
    call.report.finish("drained")


async def times_out(call: Call) -> None:
    call.report.batches = 2
    call.report.finish("timed_out", "the timeout is over")


async def waits_for_its_stop(call: Call) -> None:
    await call.stop.wait()
    call.report.finish("stopped", "asked to stop")


async def never_ends(_call: Call) -> None:
    await asyncio.get_running_loop().create_future()


def lasts(clock: FakeClock, seconds: float) -> Behaviour:
    async def run(call: Call) -> None:
        await clock.sleep(seconds)
        call.report.finish("drained")

    return run


def bind(sweep: SweepConfig, link: ScriptedLink) -> SweepSpec:
    outage = Outage(
        sweep.database, link.probe, link.clock, on_change=lambda: None, draw=lambda: 1.0
    )
    return SweepSpec(sweep, link.run, outage)


def ago(clock: FakeClock, **past: float) -> SweepRecord:
    return SweepRecord(last_start=clock.now() - timedelta(**past), last_outcome="drained")


def noon(day: int = 15) -> datetime:
    return datetime(2026, 1, day, 12, tzinfo=UTC)


def settings_of(database: DatabaseSettings) -> DatabaseConfig:
    return cast("DatabaseConfig", database)


@asynccontextmanager
async def running(supervisor: Supervisor) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(supervisor.run())
    try:
        yield task
    finally:
        supervisor.end()
        await task


def no_holds(clock: FakeClock) -> Holds:
    """Return the holds of a state directory that does not exist."""
    return Holds(Path("/nonexistent"), clock.now)


def supervise(
    link: ScriptedLink,
    memory: Memory | None = None,
    *,
    holds: Holds | None = None,
    **changes: object,
) -> Supervisor:
    memory = memory or Memory()
    holds = holds or no_holds(link.clock)
    binding = bind(sweep_config(**changes), link)
    return Supervisor(binding, memory, holds, link.clock, draw=lambda: 0.0)
