"""One sweep's loop: wait until it is due, run it, record and log how it went."""

from __future__ import annotations

import asyncio
import random
import uuid
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

from sweeperd.daemon.hold_watch import HoldWatch
from sweeperd.daemon.lag_watch import LagWatch
from sweeperd.daemon.metrics.now import SweepNow
from sweeperd.daemon.precedence import Turn
from sweeperd.daemon.recent_runs import RecentRuns
from sweeperd.daemon.run_record import did_not_happen, finished_run, owed, recorded
from sweeperd.daemon.run_request import RunRequests
from sweeperd.daemon.schedule import ClockReading, due, restored
from sweeperd.daemon.status import RunUnderWay, Situation, waits_or_aside
from sweeperd.errors import EXIT_UNAVAILABLE
from sweeperd.log.daemon_events import DatabaseBack, DatabaseLost
from sweeperd.log.event import Event, emit
from sweeperd.log.events import (
    SweepCrashed,
    SweepReleased,
    SweepScheduled,
    SweepStarted,
    SweepThrottled,
)
from sweeperd.log.run_events import BatchCommitted
from sweeperd.log.setup import run_context
from sweeperd.log.told import Told
from sweeperd.sweep.guards.hold_file import policy_of
from sweeperd.sweep.options import RunOptions
from sweeperd.sweep.outcome.report import Report

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from sweeperd.config.models import SweepConfig
    from sweeperd.daemon.binding import Records, SweepSpec
    from sweeperd.daemon.reachability import Outage
    from sweeperd.daemon.schedule import Due, Progress
    from sweeperd.daemon.state.record import SweepRecord
    from sweeperd.daemon.status import JsonObject
    from sweeperd.host.clock import Clock
    from sweeperd.sweep.guards.hold_file import Hold, Holds
    from sweeperd.sweep.outcome.lag import RetentionLag

# asyncio's timers stand still while the host is suspended, and know nothing of a wall clock
# that is set: so no wait is longer than this before the timetable is asked again
_LONGEST_NAP = 60.0
# what a run may take beyond its timeout: cancelling the statement and the shielded COMMIT
OVERTIME_SECONDS = 30.0

State = Literal["waiting", "running", "held", "away", "ended"]


@dataclass
class _Running:
    """The run under way."""

    stop: asyncio.Event
    report: Report
    started_at: datetime
    throttled_by: str | None = None


class Supervisor:
    """The loop of one sweep; never two runs of it at a time.

    Args:
        binding: The settings in force.
        records: Its past, and where to note its future.
        holds: Where a hold binds it.
        clock: Time.
        on_change: Called when ``state`` or ``next_start`` may have changed.
        busy: Tells whether a sweep that goes before this one is not done yet.
        draw: Returns a number from 0 to 1, for jitter.
    """

    def __init__(
        self,
        binding: SweepSpec,
        records: Records,
        holds: Holds,
        clock: Clock,
        *,
        on_change: Callable[[], None] = lambda: None,
        busy: Callable[[str], bool] = lambda _: False,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.name = binding.sweep.name
        self._binding: SweepSpec | None = binding
        self._records = records
        self._holds = holds
        self._watch = HoldWatch(holds, clock)
        self._told = Told(clock.elapsed)
        self._clock = clock
        self._on_change = on_change
        self._turn = Turn(self.name, busy)
        self._draw = draw
        self._wake = asyncio.Event()
        self._running: _Running | None = None
        self._requests = RunRequests()
        self._runs = RecentRuns(self._record.history)
        self._share = draw()
        self.lag = LagWatch(clock, binding.sweep, draw)
        self._last_end = ""
        self._progress = self._restored()

    async def run(self) -> None:
        """Sweep whenever it is due, until `end`."""
        # the past may have moved on: a removed loop of this name had a run to end
        self._progress = self._restored()
        if self._holds.released(self.name) is not None:
            self._progress = replace(self._progress, retry=True)
        self._announce()
        try:
            while self._binding is not None:
                self._wake.clear()
                self.look_at_hold()
                await self._step(self._binding)
        finally:
            self._requests.end()

    async def _step(self, binding: SweepSpec) -> None:
        """Wait a while, or run."""
        if self.hold is not None:
            self._requests.refuse()
        pause = 0.0 if self._requests.is_waiting else self._pause(binding)
        if pause > 0:
            await self._nap(pause)
        elif self.hold is not None:
            self._advance(binding)
        else:
            await self._run_once()

    def rebind(self, binding: SweepSpec) -> None:
        """Use other settings from the next start on; a run under way keeps its own."""
        former, self._binding = self._binding, binding
        if former is None or former.timetable != binding.timetable:
            self._announce()
        self._wake.set()

    def end(self) -> None:
        """Start no more; a run under way ends at the batch's edge."""
        self._binding = None
        if self._running is not None:
            self._running.stop.set()
        self._wake.set()

    def wake(self) -> None:
        """Look at the timetable again."""
        self._wake.set()

    def request_run(self, correlation_id: str | None) -> asyncio.Future[JsonObject | None]:
        """Run now, or as soon as the run under way has ended; whatever is not due yet.

        Neither its turn, its window nor a database that is away is waited for: the run itself
        tells what it meets. There must be no request already, and the sweep must not be held.

        Returns:
            What gets the report; None when it was held or ended before it could run.
        """
        self._wake.set()
        return self._requests.put(correlation_id)

    @property
    def is_requested(self) -> bool:
        """Whether a run that somebody asked for has not begun."""
        return self._requests.is_waiting

    def look_at_hold(self) -> None:
        """See whether a hold was set or removed since the last look; say so once."""
        if self._binding is None:
            return
        former = self._watch.look(self._binding.sweep)
        if self.hold is not None and self._running is not None:
            self._running.stop.set()
        if self.hold is None and former is not None:
            self._progress = replace(self._progress, retry=True)  # it runs at once
        if former != self.hold:
            self._on_change()
            self._wake.set()

    def take_lag(self, lag: RetentionLag) -> None:
        """Take the retention lag that was measured between two runs."""
        if self._binding is not None:
            self.lag.take(lag, self._binding.sweep)
            self.judge_lag()

    def judge_lag(self) -> None:
        """See whether the sweep has fallen behind or caught up since the last look."""
        if self._binding is not None and self.lag.judge(self._binding.sweep, self._why_behind()):
            self._on_change()

    def _why_behind(self) -> str:
        if self.hold is not None:
            return f"held: {self.hold.reason}"
        if self._binding is not None and self._binding.outage.away:
            return f"database {self._binding.sweep.database} is lost"
        return self._last_end

    @property
    def hold(self) -> Hold | None:
        """The hold that was found at the last look."""
        return self._watch.hold

    def situation(self) -> Situation | None:
        """Return what is known of it at this moment; None once it has ended."""
        binding, found = self._binding, self.next_start
        if binding is None or found is None:
            return None
        now, running = ClockReading.of(self._clock), self._running
        waits_for, aside = waits_or_aside(
            binding, self._progress, now, self._turn.waits_for, share=self._share
        )
        return Situation(
            binding.sweep,
            self._runs,
            self.hold,
            RunUnderWay(running.started_at, running.report, running.throttled_by)
            if running is not None
            else None,
            now.at(max(found.elapsed, now.elapsed)) if self.hold is None else None,
            waits_for,
            aside,
            self.lag.retention_lag_seconds,
            behind=self.lag.behind,
        )

    @property
    def last_run(self) -> Mapping[str, object] | None:
        """The report of the newest run that ended, without secrets."""
        return self._runs.last

    @property
    def throttled_by(self) -> str | None:
        """Why the run under way waits for the server; None while it goes on, or without one."""
        return self._running.throttled_by if self._running is not None else None

    @property
    def obstacle(self) -> str | None:
        """What the settings say that keeps rows where they are at this moment."""
        sweep = self._binding.sweep if self._binding is not None else None
        if sweep is None:
            return None
        if sweep.window is not None and not sweep.window.contains(self._clock.now()):
            return f"it is outside its window {sweep.window}"
        return "dry_run = true" if sweep.dry_run else None

    def overdue(self, at: float) -> bool:
        """Tell whether a run has outlived its timeout by far.

        Args:
            at: The loop's own time, in seconds.
        """
        running = self._running
        deadline = running.report.deadline if running is not None else None
        return deadline is not None and at > deadline + OVERTIME_SECONDS

    @property
    def state(self) -> State:
        """What the sweep is doing."""
        if self._running is not None:
            return "running"
        if self._binding is None:
            return "ended"
        if self.hold is not None:
            return "held"
        return "away" if self._binding.outage.away else "waiting"

    @property
    def owes(self) -> bool:
        """Whether a run is under way, due, or soon to take up what the last one left over."""
        if self._running is not None:
            return True
        binding, found = self._binding, self.next_start
        if binding is None or found is None or self.state != "waiting":
            return False
        soon = binding.timetable.catch_up if self._record.left_over else 0.0
        return found.elapsed - self._clock.elapsed() <= soon

    @property
    def next_start(self) -> Due | None:
        """The next start; None when there will be none."""
        binding = self._binding  # read once: the metrics ask from another thread
        if binding is None:
            return None
        return due(
            binding.timetable, self._progress, ClockReading.of(self._clock), share=self._share
        )

    def now(self) -> SweepNow:
        """Return what this loop does; another thread may ask."""
        start, moment = self.next_start, ClockReading.of(self._clock)
        next_run = moment.at(start.elapsed).timestamp() if start is not None else None
        return SweepNow(
            self.name,
            held=self.hold is not None,
            running=self._running is not None,
            next_run=next_run,
            behind=self.lag.behind,
            retention_lag_seconds=self.lag.retention_lag_seconds,
        )

    @property
    def _record(self) -> SweepRecord:
        return self._records.record(self.name)

    def _restored(self) -> Progress:
        record = self._record
        return restored(
            ClockReading.of(self._clock),
            record.last_start,
            # no outcome: the process died in that run
            left_over=record.left_over or record.last_outcome is None,
            same_boot_start=record.started_elapsed if record.boot == self._clock.boot() else None,
        )

    def _pause(self, binding: SweepSpec) -> float:
        """Return the seconds until the next start; 0 for now."""
        found = self.next_start
        pause = found.elapsed - self._clock.elapsed() if found is not None else 0.0
        if pause <= 0 and binding.outage.away:
            return _LONGEST_NAP  # the run is owed: its return wakes this loop
        longest = binding.timetable.interval if self.hold is None else 0.0
        if pause <= 0 and self._turn.must_wait(binding.after, self._clock.elapsed(), longest):
            return _LONGEST_NAP  # the end of another's run wakes this loop
        return pause

    async def _nap(self, seconds: float) -> None:
        waits = {
            asyncio.ensure_future(self._clock.sleep(min(seconds, _LONGEST_NAP))),
            asyncio.ensure_future(self._wake.wait()),
        }
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _announce(self) -> None:
        found = self.next_start
        if found is None or self._binding is None:
            return
        moment = ClockReading.of(self._clock)
        emit(
            SweepScheduled(
                self.name,
                interval_seconds=self._binding.interval_seconds,
                next_run=moment.at(max(found.elapsed, moment.elapsed)).replace(microsecond=0),
                first_run=found.first_run,
            )
        )
        self._on_change()

    def _advance(self, binding: SweepSpec) -> None:
        self._progress = self._progress.started(self._clock.elapsed(), binding.timetable)
        self._share = self._draw()

    async def _run_once(self) -> None:
        """Run once and account for it, however it ends."""
        async with self._records.run(self.name):
            if self._binding is not None and self.hold is None:  # as before this waited
                await self._run(self._binding)

    async def _run(self, binding: SweepSpec) -> None:
        before, past = self._record, self._progress
        now, released = ClockReading.of(self._clock), self._holds.released(self.name)
        kinds = released.kinds if released is not None else ()
        request = self._requests.take()
        given_id = request.correlation_id if request is not None else None
        report = Report(self.name, given_id or str(uuid.uuid4()), memory=before.memory.copy())
        self._advance(binding)
        record = replace(
            before,
            last_start=now.wall,
            last_outcome=None,
            memory=report.memory,
            boot=self._clock.boot(),
            started_elapsed=now.elapsed,
            policy=policy_of(binding.sweep),
        )
        self._records.note(self.name, record)
        with run_context(self.name, report.correlation_id):
            emit(SweepStarted(self.name, report.correlation_id))
            try:
                await self._execute(binding, report, kinds, now.wall)
            except asyncio.CancelledError:
                report.finish("stopped", "its statement was cancelled")
                raise
            except Exception as error:  # noqa: BLE001 - one sweep's defect must not end the others
                report.fail(f"unexpected {type(error).__name__}: {error}")
                emit(SweepCrashed(self.name), error=error)
            finally:
                self._running = None
                self._settle(report, before, past, now)
                self._watch.is_release_told = False
                if released is not None and not did_not_happen(report):
                    self._holds.forget_release(self.name)
                self.look_at_hold()
                self._judge(binding.outage, report)
                self._take_run(binding.sweep, report)
                if request is not None:
                    request.answer({**(self._runs.last or {}), "exit_code": report.exit_code})
                self._on_change()

    async def _execute(
        self, binding: SweepSpec, report: Report, released: tuple[str, ...], started_at: datetime
    ) -> None:
        running = self._running = _Running(asyncio.Event(), report, started_at)
        self._on_change()
        options = RunOptions(stop=running.stop, released=released)
        await binding.run(binding.sweep, report, options, partial(self._hear, binding.outage))

    def _settle(
        self, report: Report, before: SweepRecord, past: Progress, started: ClockReading
    ) -> None:
        """Log, record, and set the timetable after a run."""
        self._log_end(report)
        run = finished_run(report, started.wall)
        self._runs.add(run.report)
        record = recorded(self._record, report, run)
        if did_not_happen(report):
            record = owed(record, before)
            self._progress = replace(past, retry=True)
        else:
            self._progress = self._progress.ended(
                self._clock.elapsed(),
                left_over=report.left_over,
                retry=report.exit_code == EXIT_UNAVAILABLE,
            )
        self._records.note(self.name, record, run)

    def _log_end(self, report: Report) -> None:
        """Log how the run ended; that a database is away is told once for all sweeps on it."""
        is_news = self._told.is_news(ended := report.ended())
        emit(ended, is_news=is_news and report.exit_code != EXIT_UNAVAILABLE)

    def _take_run(self, sweep: SweepConfig, report: Report) -> None:
        """See what a run tells of the retention lag."""
        why = report.end_reason or report.error
        self._last_end = f"the last run {report.outcome}" + (f": {why}" if why else "")
        self.lag.take_run(report, sweep)
        self.judge_lag()

    def _judge(self, outage: Outage, report: Report) -> None:
        """Tell the sweeps on the same database what this run learned of it."""
        if report.exit_code == EXIT_UNAVAILABLE:
            outage.lose(report.error or "no reason known")
        elif report.cutoff_time is not None and not outage.away:
            outage.confirm()

    def _throttle(self, reason: str | None) -> None:
        """Note why the run under way waits for the server, or that it goes on."""
        running = self._running
        if running is not None and running.throttled_by != reason:
            running.throttled_by = reason
            self._on_change()

    def _hear(self, outage: Outage, event: Event) -> None:
        """Take an event of the run under way; it may have moved the memory on."""
        self._records.touch(self.name)
        if isinstance(event, SweepThrottled):
            self._throttle(event.reason)
        elif isinstance(event, BatchCommitted):
            self._throttle(None)
        if isinstance(event, DatabaseLost):
            outage.lose(event.reason)  # tells it once, for all sweeps on the database
        elif isinstance(event, DatabaseBack):
            outage.find()
        elif not (isinstance(event, SweepReleased) and self._watch.is_release_told):
            self._told.emit(event)
