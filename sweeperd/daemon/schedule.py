"""When a sweep is due. Pure: time comes in as an argument, nothing waits here.

Intervals are counted on the elapsed clock, which runs on through suspend and which nobody
can set; windows are wall time, because people write them so. A grid of starts is kept:
a start that is a little late (the loop was busy, jitter) does not move the next one, so
that nothing drifts; one that comes later counts as missed, and the grid begins again there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from sweeperd.host.clock import Clock

# Later than this share of the interval is no latency any more: keeping the grid then would
# put two starts closer together than the operator asked for.
_LATENESS_SHARE = 0.1


class WallWindow(Protocol):
    """The hours in which a sweep may run."""

    def contains(self, at: datetime) -> bool:
        """Tell whether that instant lies inside."""

    def next_open(self, at: datetime) -> datetime:
        """Return the next instant, from ``at`` on, that lies inside."""

    def closes(self, at: datetime) -> datetime:
        """Return when the window closes that is open at ``at``."""


@dataclass(frozen=True)
class ClockReading:
    """One instant on both clocks.

    Attributes:
        wall: Host wall time, aware.
        elapsed: Seconds on the elapsed clock.
    """

    wall: datetime
    elapsed: float

    @classmethod
    def of(cls, clock: Clock) -> ClockReading:
        """Read both clocks."""
        return cls(clock.now(), clock.elapsed())

    def at(self, elapsed: float) -> datetime:
        """Return the wall time at another elapsed second, as things stand now."""
        return self.wall + timedelta(seconds=elapsed - self.elapsed)


@dataclass(frozen=True)
class Timetable:
    """What a sweep's settings say about its starts; seconds.

    Attributes:
        interval: From start to start.
        catch_up: Pause after a run that left work over.
        jitter: Largest random delay of a start.
        window: Hours in which it may run; None for always.
    """

    interval: float
    catch_up: float
    jitter: float = 0.0
    window: WallWindow | None = None


@dataclass(frozen=True)
class Due:
    """The next start.

    Attributes:
        elapsed: When, on the elapsed clock; at or before now means at once.
        first_run: Whether no earlier start is known.
        catching_up: Whether it takes up what the last run left.
    """

    elapsed: float
    first_run: bool = False
    catching_up: bool = False


@dataclass(frozen=True)
class Progress:
    """What the timetable needs to know of the past, on the elapsed clock.

    Attributes:
        since: When this sweep began to be watched.
        anchor: The newest start on the grid; None when it never ran.
        resume: End of the newest run if it left work over, else None.
        retry: Whether the newest run did not happen at all and is owed.
    """

    since: float
    anchor: float | None = None
    resume: float | None = None
    retry: bool = False

    def started(self, at: float, timetable: Timetable) -> Progress:
        """Return the progress once a run has started at that elapsed second."""
        if self.anchor is None:
            return replace(self, anchor=at, resume=None, retry=False)
        regular = self.anchor + timetable.interval
        if at < regular:
            return replace(self, resume=None, retry=False)
        late = at - regular > timetable.jitter + timetable.interval * _LATENESS_SHARE
        return replace(self, anchor=at if late else regular, resume=None, retry=False)

    def ended(self, at: float, *, left_over: bool, retry: bool = False) -> Progress:
        """Return the progress once the run has ended at that elapsed second."""
        return replace(self, resume=at if left_over else None, retry=retry)


def restored(
    now: ClockReading,
    last_start: datetime | None,
    *,
    left_over: bool,
    same_boot_start: float | None = None,
) -> Progress:
    """Return the progress after a restart of the daemon.

    Args:
        now: The present.
        last_start: The saved wall time of the last start.
        left_over: Whether that run left work over, or never said how it ended.
        same_boot_start: The saved elapsed second of it, if the host has not rebooted since;
            it is right even when somebody set the wall clock.
    """
    if last_start is None:
        return Progress(since=now.elapsed)
    age = (now.wall - last_start).total_seconds()
    if same_boot_start is not None and same_boot_start <= now.elapsed:
        age = now.elapsed - same_boot_start
    # A start in the future means a clock that was set back: its true age is unknown, and
    # calling it zero waits one interval at most, where waiting for that date could take years.
    start = now.elapsed - max(age, 0.0)
    return Progress(since=now.elapsed, anchor=start, resume=start if left_over else None)


def due(timetable: Timetable, progress: Progress, now: ClockReading, *, share: float = 0.0) -> Due:
    """Return the next start.

    Args:
        timetable: The settings in force.
        progress: The past.
        now: The present; windows are placed by its wall clock, so ask again after a wait.
        share: Which part of ``jitter`` this start is delayed by, 0 to 1; drawn once a start.
    """
    if progress.retry:
        wanted = Due(now.elapsed)
    elif progress.anchor is None:
        wanted = Due(progress.since, first_run=True)
    else:
        wanted = Due(progress.anchor + timetable.interval)
        resume = progress.resume
        if resume is not None and resume + timetable.catch_up < wanted.elapsed:
            return _inside(timetable, Due(resume + timetable.catch_up, catching_up=True), now, 0.0)
    delay = 0.0 if progress.retry else timetable.jitter * share
    return _inside(timetable, wanted, now, delay)


def _inside(timetable: Timetable, wanted: Due, now: ClockReading, delay: float) -> Due:
    """Move a start into the window, then by its random delay unless that leads out again."""
    window = timetable.window
    if window is None:
        return replace(wanted, elapsed=wanted.elapsed + delay)
    start = _open_from(window, wanted.elapsed, now)
    if window.contains(now.at(start + delay)):
        start += delay
    if start <= now.elapsed:
        # long due; the window that it was meant for may be over
        start = _open_from(window, now.elapsed, now)
    return replace(wanted, elapsed=start)


def _open_from(window: WallWindow, elapsed: float, now: ClockReading) -> float:
    wall = now.at(elapsed)
    if window.contains(wall):
        return elapsed
    return elapsed + (window.next_open(wall) - wall).total_seconds()
