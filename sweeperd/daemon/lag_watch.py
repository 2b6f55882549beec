"""Whether a sweep keeps up: its retention lag between two looks, and when it is behind."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from sweeperd.log.event import emit
from sweeperd.log.events import SweepBehind, SweepCaughtUp

if TYPE_CHECKING:
    from collections.abc import Callable

    from sweeperd.config.models import SweepConfig
    from sweeperd.host.clock import Clock
    from sweeperd.sweep.outcome.lag import RetentionLag
    from sweeperd.sweep.outcome.report import Report

# seconds
_LEAST_APART = 300.0
_REMINDER = 86_400.0
_INTERVAL_SHARE = 0.1


class LagWatch:
    """The retention lag of one sweep.

    While it cannot be measured it is taken to grow as time passes: what is expired then may stay.

    Args:
        clock: Time.
        sweep: The sweep.
        draw: Returns a number from 0 to 1, so that the first looks of many sweeps are spread.
    """

    def __init__(
        self, clock: Clock, sweep: SweepConfig, draw: Callable[[], float] = random.random
    ) -> None:
        self._clock = clock
        begun = clock.elapsed()
        self._next = begun + _apart(sweep) * draw()
        self._known = (0.0, begun)  # the lag at the last look that told one, and when that was
        self._is_measured = False
        self._grows = False
        self._failure: str | None = None
        self._told: float | None = None
        self.behind = False

    @property
    def retention_lag_seconds(self) -> float | None:
        """The lag of the last look; None when that told none."""
        return self._known[0] if self._is_measured and not self._grows else None

    @property
    def is_due(self) -> bool:
        """Whether it is time for the next look."""
        return self._clock.elapsed() >= self._next

    def put_off(self, sweep: SweepConfig) -> None:
        """Look again after a tenth of the interval."""
        self._next = self._clock.elapsed() + _apart(sweep)

    def take(self, lag: RetentionLag, sweep: SweepConfig) -> None:
        """Take what a look told."""
        self.put_off(sweep)
        if lag.seconds is None:
            self._fail(lag.reason or "it cannot be measured")
            return
        self._known = lag.seconds, self._clock.elapsed()
        self._is_measured, self._grows, self._failure = True, False, None

    def take_run(self, report: Report, sweep: SweepConfig) -> None:
        """Take what a run told; one that drained the table left no lag, even if none was measured.

        Args:
            report: Of the run that is over.
            sweep: Its settings.
        """
        if report.retention_lag is not None:
            self.take(report.retention_lag, sweep)
        elif report.outcome == "drained" and report.expired_count is None:
            self._known = 0.0, self._clock.elapsed()
            self._is_measured, self._grows, self._failure = False, True, None
        elif report.error is not None:
            self._fail(report.error)

    def _fail(self, reason: str) -> None:
        self._grows, self._failure = True, reason

    def judge(self, sweep: SweepConfig, why: str) -> bool:
        """Tell once when the sweep falls behind or catches up; return whether that changed.

        Args:
            sweep: The settings in force.
            why: What is known of the cause.
        """
        now = self._clock.elapsed()
        seconds, at = self._known
        if self._grows:
            seconds += now - at
        most = sweep.longest_retention_lag.total_seconds()
        former, self.behind = self.behind, seconds > most
        if self.behind and (self._told is None or now - self._told >= _REMINDER):
            self._told = now
            failure = self._failure
            unknown = failure is not None and failure not in why
            causes = [why, f"the lag is not known: {failure}" if unknown else ""]
            reason = "; ".join(cause for cause in causes if cause)
            emit(SweepBehind(sweep.name, round(seconds, 3), most, reason))
        elif former and not self.behind:
            self._told = None
            emit(SweepCaughtUp(sweep.name, round(seconds, 3)))
        return former != self.behind


def _apart(sweep: SweepConfig) -> float:
    """Return the seconds from one look to the next."""
    return max(sweep.interval.total_seconds() * _INTERVAL_SHARE, _LEAST_APART)
