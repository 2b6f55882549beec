"""All sweeps and databases of the configuration in force; a reload swaps it whole."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from sweeperd.config.order import predecessors
from sweeperd.daemon.binding import SweepSpec
from sweeperd.daemon.reachability import Outage
from sweeperd.daemon.recent_runs import RecentRuns
from sweeperd.daemon.status import Situation
from sweeperd.daemon.status_line import status_line
from sweeperd.daemon.supervisor import OVERTIME_SECONDS, Supervisor
from sweeperd.errors import DatabaseUnreachableError
from sweeperd.log.event import emit
from sweeperd.log.events import SweepLoopDied
from sweeperd.sweep.outcome.lag import RetentionLag

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sweeperd.config.models import Config, DatabaseConfig, SweepConfig
    from sweeperd.daemon.binding import Records, RunSweep
    from sweeperd.daemon.metrics.now import SweepNow
    from sweeperd.daemon.status import SweepStatus
    from sweeperd.host.clock import Clock
    from sweeperd.sweep.guards.hold_file import Holds


class DatabaseHandle(Protocol):
    """One database as the fleet uses it."""

    @property
    def run(self) -> RunSweep:
        """Runs a sweep on it."""

    async def probe(self) -> None:
        """Log in once; raise when it is away."""

    async def measure_lags(self, sweeps: Sequence[SweepConfig]) -> dict[str, RetentionLag]:
        """Measure retention lags; return those that could be looked at, by name.

        Raises:
            DatabaseUnreachableError: It is away.
        """


@dataclass(frozen=True)
class Changes:
    """What a new configuration did to the sweeps, by name."""

    added: list[str]
    changed: list[str]
    removed: list[str]


@dataclass(frozen=True)
class _Database:
    config: DatabaseConfig
    link: DatabaseHandle
    outage: Outage


@dataclass(frozen=True)
class _Member:
    binding: SweepSpec
    supervisor: Supervisor
    task: asyncio.Task[None]


class Fleet:
    """Starts, rebinds and ends the sweeps' loops.

    Args:
        connect: Makes the link to a configured database; must not wait or fail.
        records: The sweeps' pasts.
        holds: The holds of the state directory.
        clock: Time.
        on_change: Called when `status` may have changed.
    """

    def __init__(
        self,
        connect: Callable[[DatabaseConfig], DatabaseHandle],
        records: Records,
        holds: Holds,
        clock: Clock,
        *,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._connect = connect
        self._records = records
        self._holds = holds
        self._holds_seen: tuple[object, ...] = ()
        self._clock = clock
        self._on_change = on_change
        self._databases: dict[str, _Database] = {}
        self._members: dict[str, _Member] = {}
        self._disabled: dict[str, SweepConfig] = {}
        self._followers: dict[str, list[str]] = {}
        self._ending: dict[asyncio.Task[None], Supervisor] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def apply(self, config: Config) -> Changes:
        """Put a configuration in force; runs under way keep the settings they began with."""
        self._swap_databases(config)
        self._holds.configured = frozenset(config.sweeps)
        wanted = {name: sweep for name, sweep in config.sweeps.items() if sweep.enabled}
        self._disabled = {name: one for name, one in config.sweeps.items() if not one.enabled}
        changes = Changes([], [], [])
        for name in [name for name in self._members if name not in wanted]:
            self._remove(name)
            changes.removed.append(name)
        first = predecessors(wanted.values())
        self._followers = {}
        for name, before in first.items():
            for one in before:
                self._followers.setdefault(one, []).append(name)
        for name, sweep in wanted.items():
            database = self._databases[sweep.database]
            binding = SweepSpec(sweep, database.link.run, database.outage, first[name])
            member = self._members.get(name)
            if member is None or member.task.done():
                self._start(binding)
                changes.added.append(name)
            elif member.binding != binding:
                self._members[name] = _Member(binding, member.supervisor, member.task)
                member.supervisor.rebind(binding)
                changes.changed.append(name)
        self._on_change()
        return changes

    def look_at_holds(self) -> None:
        """See what was held or released since the last look; cheap, to be called each second."""
        self._holds.write_unwritten()
        seen = self._holds.signature()
        changed, self._holds_seen = seen != self._holds_seen, seen
        for member in self._members.values():
            # a hold that is known may have an end time
            if changed or member.supervisor.hold is not None:
                member.supervisor.look_at_hold()

    async def measure_lags(self) -> None:
        """Look at the retention lags that are due, on all databases side by side."""
        for member in self._members.values():
            member.supervisor.judge_lag()
        await asyncio.gather(
            *(self._measure_lags(name, database) for name, database in self._databases.items())
        )

    async def _measure_lags(self, name: str, database: _Database) -> None:
        """Look at the sweeps of one database."""
        due = {
            member.supervisor.name: member
            for member in self._members.values()
            if member.binding.sweep.database == name
            and member.supervisor.state != "running"
            and member.supervisor.lag.is_due
        }
        if not due:
            return
        lost = f"database {name} is lost" if database.outage.away else None
        lags: dict[str, RetentionLag] = {}
        if lost is None:
            try:
                lags = await database.link.measure_lags(
                    [member.binding.sweep for member in due.values()]
                )
            except DatabaseUnreachableError as error:
                lost = str(error)
        if lost is not None:
            lags = dict.fromkeys(due, RetentionLag(None, reason=lost))
        for sweep, lag in lags.items():
            due[sweep].supervisor.take_lag(lag)

    def health_problems(self, at: float) -> list[str]:
        """Return why the watchdog must not be told that all is well.

        Args:
            at: The loop's own time, in seconds.
        """
        dead = [name for name, member in self._members.items() if member.task.done()]
        loops = [member.supervisor for member in self._members.values()]
        late = [one.name for one in (*loops, *self._ending.values()) if one.overdue(at)]
        return [f"the loop of sweep {name} has died" for name in dead] + [
            f"a run of sweep {name} has outlived its timeout by {OVERTIME_SECONDS:.0f} s"
            for name in late
        ]

    def now(self) -> list[SweepNow]:
        """Return what each sweep's loop does; the metrics ask from another thread."""
        return [member.supervisor.now() for member in tuple(self._members.values())]

    def status(self) -> str:
        """Return the state in plain words, one line."""
        supervisors = [member.supervisor for member in self._members.values()]
        return status_line(supervisors, self.outages(), self._clock, sorted(self._disabled))

    def outages(self) -> dict[str, str]:
        """Return why each database that is away is so, by its name."""
        found = {name: database.outage.reason for name, database in self._databases.items()}
        return {name: reason for name, reason in found.items() if reason is not None}

    def sweeps(self) -> list[str]:
        """Return the names of all configured sweeps, disabled ones too, in order."""
        return sorted([*self._members, *self._disabled])

    def sweep_status(self, name: str) -> SweepStatus | None:
        """Return the status of one sweep; None where none is called so."""
        member, disabled = self._members.get(name), self._disabled.get(name)
        if member is not None:
            situation = member.supervisor.situation()
        elif disabled is not None:
            past = RecentRuns(self._records.record(name).history)
            situation = Situation(disabled, past, self._holds.find(disabled))
        else:
            situation = None
        return situation.status(self._clock.now()) if situation is not None else None

    def supervisor(self, name: str) -> Supervisor | None:
        """Return the loop of a sweep; None for one that is disabled or not configured."""
        member = self._members.get(name)
        return member.supervisor if member is not None else None

    def stop(self) -> None:
        """Let every loop end at the batch's edge."""
        for name in list(self._members):
            self._remove(name)

    async def ended(self) -> None:
        """Wait for the loops that are ending."""
        if self._ending:
            await asyncio.wait(set(self._ending))

    def cancel(self) -> None:
        """Cancel the statements of the loops that are ending."""
        for task in self._ending:
            task.cancel()

    async def close(self) -> None:
        """Stop asking for databases."""
        for database in self._databases.values():
            await database.outage.close()
        if self._closing:
            await asyncio.wait(self._closing)

    def _swap_databases(self, config: Config) -> None:
        former, self._databases = self._databases, {}
        for name, settings in config.databases.items():
            known = former.get(name)
            if known is not None and known.config == settings:
                self._databases[name] = former.pop(name)
                continue
            link = self._connect(settings)
            outage = Outage(name, link.probe, self._clock, on_change=self._wake)
            self._databases[name] = _Database(settings, link, outage)
        for gone in former.values():
            closing = asyncio.create_task(gone.outage.close())
            self._closing.add(closing)  # the event loop itself does not keep a task
            closing.add_done_callback(self._closing.discard)

    def _start(self, binding: SweepSpec) -> None:
        """Start a loop; a removed one of that name must have ended before."""
        name = binding.sweep.name
        supervisor = Supervisor(
            binding,
            self._records,
            self._holds,
            self._clock,
            on_change=lambda: self._changed(name),
            busy=self._busy,
        )
        former = {task for task, one in self._ending.items() if one.name == name}
        task = asyncio.create_task(_run_after(former, supervisor), name=f"sweep {name}")
        task.add_done_callback(self._tell)
        self._members[name] = _Member(binding, supervisor, task)

    def _remove(self, name: str) -> None:
        member = self._members.pop(name)
        member.supervisor.end()
        self._ending[member.task] = member.supervisor
        member.task.add_done_callback(lambda task: self._ending.pop(task, None))

    def _tell(self, task: asyncio.Task[None]) -> None:
        """Say that a loop died of a defect; the watchdog then stays silent."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            name = task.get_name().removeprefix("sweep ")
            emit(SweepLoopDied(name, repr(error)), error=error)

    def _busy(self, name: str) -> bool:
        """Tell whether those that come after a sweep must wait for it."""
        member = self._members.get(name)
        return member is not None and member.supervisor.owes

    def _changed(self, name: str) -> None:
        """Let those that wait for a sweep look again."""
        for follower in self._followers.get(name, ()):
            if (member := self._members.get(follower)) is not None:
                member.supervisor.wake()
        self._on_change()

    def _wake(self) -> None:
        for member in self._members.values():
            member.supervisor.wake()
        self._on_change()


async def _run_after(former: set[asyncio.Task[None]], supervisor: Supervisor) -> None:
    if former:
        await asyncio.wait(former)
    await supervisor.run()
