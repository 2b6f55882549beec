"""Whether it is a sweep's turn: those that go before it are done, or too long about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeperd.log.event import emit
from sweeperd.log.events import SweepWaits

if TYPE_CHECKING:
    from collections.abc import Callable


class Turn:
    """One sweep's place behind others.

    Args:
        sweep: Its name.
        busy: Tells whether a sweep that goes first is not done yet.
    """

    def __init__(self, sweep: str, busy: Callable[[str], bool]) -> None:
        self._sweep = sweep
        self._busy = busy
        self._since: float | None = None
        self._told: list[str] = []

    @property
    def waits_for(self) -> list[str]:
        """The sweeps that must finish first, as it was last asked."""
        return self._told

    def must_wait(self, after: tuple[str, ...], now: float, longest: float) -> bool:
        """Whether to wait for one of ``after``; said in the log once a change.

        Args:
            after: Sweeps that go first.
            now: The elapsed clock, seconds.
            longest: Seconds to wait at most, whoever is not done.
        """
        waits_for = [name for name in after if self._busy(name)]
        since = now if self._since is None else self._since
        if not waits_for or now - since >= longest:
            self._since, self._told = None, []
            return False
        if waits_for != self._told:
            emit(SweepWaits(self._sweep, f"{', '.join(waits_for)} must finish first"))
        self._since, self._told = since, waits_for
        return True
