"""Whether the watchdog would be fed, as another thread can ask."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

# two beats of a watchdog: systemd would restart the service then
_SILENT_BEATS: Final = 2


class Pulse:
    """Noted by the event loop at each look at its health; an old note means that it is blocked."""

    def __init__(self) -> None:
        self._problems: tuple[str, ...] = ("it is starting",)
        self._next: float | None = None

    def beat(self, problems: Sequence[str], interval: float) -> None:
        """Note what keeps the watchdog from being fed.

        Args:
            problems: In words; none when all is well.
            interval: Seconds until the next note.
        """
        self._problems = tuple(problems)
        self._next = time.monotonic() + _SILENT_BEATS * interval

    def stop(self) -> None:
        """Note that the daemon ends."""
        self._problems, self._next = ("it is stopping",), None

    def problems(self) -> tuple[str, ...]:
        """Return what keeps the watchdog from being fed; nothing when all is well."""
        if not self._problems and self._next is not None and time.monotonic() > self._next:
            return ("the event loop does not turn",)
        return self._problems
