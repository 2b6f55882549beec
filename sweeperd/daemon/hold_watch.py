"""What holds one sweep, seen at each look; the log has each change once, and a reminder a day."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sweeperd.log.event import emit
from sweeperd.log.events import SweepReleased
from sweeperd.sweep.guards.told import hold_event

if TYPE_CHECKING:
    from sweeperd.config.models import SweepConfig
    from sweeperd.host.clock import Clock
    from sweeperd.sweep.guards.hold_file import Hold, Holds

_REMINDER_SECONDS: Final = 86_400.0


class HoldWatch:
    """Looks at the holds for one sweep.

    Attributes:
        hold: What held it at the last look; None when it may run.
        is_release_told: Whether the log has a release already that the next run would tell.

    Args:
        holds: Those of the state directory.
        clock: Time.
    """

    def __init__(self, holds: Holds, clock: Clock) -> None:
        self.hold: Hold | None = None
        self.is_release_told = False
        self._holds = holds
        self._clock = clock
        self._told: tuple[Hold, float] | None = None

    def look(self, sweep: SweepConfig) -> Hold | None:
        """See what holds the sweep; return what did at the last look."""
        former, self.hold = self.hold, self._holds.find(sweep)
        if self.hold is not None:
            self._tell_hold(self.hold, sweep.name)
        elif former is not None:
            self._tell_release(former, sweep.name)
        return former

    def _tell_hold(self, hold: Hold, sweep: str) -> None:
        now = self._clock.elapsed()
        if self._told is not None:
            told, at = self._told
            if told == hold and now - at < _REMINDER_SECONDS:
                return
        self._told = hold, now
        emit(hold_event(hold, sweep))

    def _tell_release(self, former: Hold, sweep: str) -> None:
        self._told, self.is_release_told = None, True
        released = self._holds.released(sweep)
        ended = former.has_ended(self._clock.now())
        user = released.by if released is not None else ""
        reason = f"{former.reason} (its end time has passed)" if ended else former.reason
        emit(SweepReleased(sweep, reason, user))
