"""Tells of an event loop that does not turn, and where it stands.

systemd's watchdog restarts a process whose loop is blocked, but does not say why. A thread of its
own can, for it runs on while the loop does not.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

_LOOK_SECONDS: Final = 1.0
_BLOCKED_SECONDS: Final = 5.0
_GROWTH: Final = 4.0  # a loop that stays blocked is told after 5 s, 20 s, 80 s ...


@contextmanager
def watched_loop(
    tell: Callable[[float, str], None],
    *,
    look: float = _LOOK_SECONDS,
    blocked: float = _BLOCKED_SECONDS,
) -> Iterator[None]:
    """Watch the running event loop while the context lasts.

    Args:
        tell: Called in the watching thread with the seconds for which the loop has not turned
            and the stack of the loop's thread.
        look: Seconds between two looks.
        blocked: Seconds without a turn after which the loop is told of.
    """
    watch = _Watch(asyncio.get_running_loop(), tell, look, blocked)
    watch.start()
    try:
        yield
    finally:
        watch.end()


class _Watch(threading.Thread):
    """The thread; it asks the loop to note that it turns, and looks whether it did."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        tell: Callable[[float, str], None],
        look: float,
        blocked: float,
    ) -> None:
        super().__init__(name="loop watch", daemon=True)
        self._loop = loop
        self._tell = tell
        self._look = look
        self._blocked = blocked
        self._watched = threading.get_ident()
        self._ended = threading.Event()
        self._turned = time.monotonic()

    def end(self) -> None:
        """Watch no longer."""
        self._ended.set()
        self.join()

    def run(self) -> None:
        told, looked = self._blocked, time.monotonic()
        while not self._ended.wait(self._look):
            late = time.monotonic() - looked - self._look
            looked = time.monotonic()
            if late > self._look:  # this thread stood still, too: the process was stopped
                self._turned += late
            silent = time.monotonic() - self._turned
            if silent < self._blocked:
                told = self._blocked
            elif silent >= told:
                told = silent * _GROWTH
                self._tell(silent, self._stack())
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._note)

    def _note(self) -> None:
        self._turned = time.monotonic()

    def _stack(self) -> str:
        frame = sys._current_frames().get(self._watched)  # noqa: SLF001 - there is no other way
        return "".join(traceback.format_stack(frame)) if frame is not None else ""
