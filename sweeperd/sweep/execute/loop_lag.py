"""Tells whether our own event loop stalled while an answer was awaited: its time is no measure."""

from __future__ import annotations

import asyncio
from typing import Final, Self

_EVERY_SECONDS: Final = 0.01
_STALLED_SECONDS: Final = 0.05


class LoopLag:
    """Watches the running loop from the beginning to the end of a ``with`` block."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._due = 0.0
        self._worst = 0.0
        self._handle: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        self._again()
        return self

    def __exit__(self, *_: object) -> None:
        self._worst = max(self._worst, self._loop.time() - self._due)
        if self._handle is not None:
            self._handle.cancel()

    @property
    def has_stalled(self) -> bool:
        """Whether some turn of the loop came much too late."""
        return self._worst > _STALLED_SECONDS

    def _tick(self) -> None:
        self._worst = max(self._worst, self._loop.time() - self._due)
        self._again()

    def _again(self) -> None:
        self._due = self._loop.time() + _EVERY_SECONDS
        self._handle = self._loop.call_at(self._due, self._tick)
