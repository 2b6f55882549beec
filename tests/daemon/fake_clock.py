"""A clock that jumps to the next sleeper as soon as nothing else can run."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from datetime import UTC, datetime, timedelta

START = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)


class FakeClock:
    """Hours in milliseconds: time passes only while all tasks wait.

    Sleepers count on the monotonic clock, as asyncio does: `suspend` moves wall and
    elapsed time, but not theirs.
    """

    def __init__(self, wall: datetime = START, *, monotonic: float = 1000.0) -> None:
        self._base = wall - timedelta(seconds=monotonic)
        self.boot_name = "boot-1"
        self._monotonic = monotonic
        self._suspended = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._jumper: asyncio.Task[None] | None = None

    def now(self) -> datetime:
        return self._base + timedelta(seconds=self.elapsed())

    def elapsed(self) -> float:
        return self._monotonic + self._suspended

    def boot(self) -> str | None:
        return self.boot_name

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(
            self._sleepers, (self._monotonic + max(seconds, 0.0), next(self._order), woken)
        )
        if self._jumper is None or self._jumper.done():
            self._jumper = asyncio.create_task(self._jump())
        await woken

    def step(self, seconds: float) -> None:
        """Set the wall clock forth or back, as a person or NTP does."""
        self._base += timedelta(seconds=seconds)

    def suspend(self, seconds: float) -> None:
        """Let the host sleep: no timer counts meanwhile."""
        self._suspended += seconds

    async def _jump(self) -> None:
        while self._sleepers:
            await settle()
            while self._sleepers and self._sleepers[0][2].done():
                heapq.heappop(self._sleepers)
            if self._sleepers:
                at, _, woken = heapq.heappop(self._sleepers)
                self._monotonic = max(self._monotonic, at)
                woken.set_result(None)


async def settle() -> None:
    """Return when no other callback of the loop is ready to run."""
    ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]
    await asyncio.sleep(0)
    while ready:
        await asyncio.sleep(0)
