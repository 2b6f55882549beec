"""Makes a run wait between batches while the server is unwell."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import asyncpg

from sweeperd.config.models import HealthConfig
from sweeperd.postgres.sqlstate import LOST_ERRORS, describe
from sweeperd.postgres.transaction import Connection
from sweeperd.sweep.execute.waits import Waits
from sweeperd.sweep.survey.health import Signal, look_at_health

_APART_SECONDS: Final = 1.0


@dataclass
class HealthWatch:
    """Looks at the server's health once a second, for all lanes of a run.

    Where the operator configured nothing, the first look is due after a second: a shorter run
    hurts nobody.

    Attributes:
        limits: The operator's.
        waits: Of the run.
    """

    limits: HealthConfig
    waits: Waits
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _next: float = 0.0
    _passed: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not self.limits.model_fields_set:
            self._next = self.waits.clock.elapsed() + _APART_SECONDS

    async def gate(self, connected: Callable[[], Awaitable[Connection]]) -> None:
        """Wait until the server is well, outside any transaction.

        Args:
            connected: Returns a connection in no transaction.

        Raises:
            RunEndError: The run must not go on.
        """
        while self.waits.clock.elapsed() >= self._next:
            async with self._lock:
                if self.waits.clock.elapsed() < self._next:
                    continue
                self.waits.turns.turn("health", self._next)
                stopped = await self._look(connected)
                self._next = self.waits.clock.elapsed() + _APART_SECONDS
                if stopped is None:
                    return
                await self.waits.throttle(stopped.stops or "", _APART_SECONDS, stopped.name)
                self._next = self.waits.clock.elapsed()
            self.waits.check()

    async def _look(self, connected: Callable[[], Awaitable[Connection]]) -> Signal | None:
        """Return the first signal for which the run must wait."""
        try:
            signals = await look_at_health(await connected(), self.limits, self._passed)
        except LOST_ERRORS:
            return None  # the next batch finds out what became of the server
        except asyncpg.PostgresError as error:
            if self.limits.model_fields_set:
                return Signal("health_query", f"health cannot be looked at: {describe(error)}")
            return None
        self._passed = frozenset(one.name for one in signals if one.reason)
        return next((one for one in signals if one.stops), None)
