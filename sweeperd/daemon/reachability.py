"""Whether a database is away, for all the sweeps on it: asked by one, told once."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from sweeperd.errors import SweeperdError
from sweeperd.log.daemon_events import DatabaseBack, DatabaseLost, ProbeFailed
from sweeperd.log.event import emit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sweeperd.host.clock import Clock

# An owed run must start within 30 s of the database's return; this leaves room for a slow login.
_LONGEST_PAUSE = 20.0
_FIRST_PAUSE = 0.5


class Outage:
    """The state of one database's reachability.

    Args:
        database: Its name.
        probe: Logs in once; raises when the database is away.
        clock: Time between two probes.
        on_change: Called after each change of state.
        draw: Returns a number from 0 to 1; instances must not knock in step.
    """

    def __init__(
        self,
        database: str,
        probe: Callable[[], Awaitable[None]],
        clock: Clock,
        *,
        on_change: Callable[[], None],
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._probe = probe
        self._clock = clock
        self._on_change = on_change
        self._draw = draw
        self._pause = _FIRST_PAUSE
        self._prober: asyncio.Task[None] | None = None
        self.reason: str | None = None

    @property
    def away(self) -> bool:
        """Whether the database was away when it was last asked."""
        return self.reason is not None

    def lose(self, reason: str) -> None:
        """Note that it is away, and begin to ask for it."""
        if self.away:
            return
        self.reason = reason
        emit(DatabaseLost(self._database, reason))
        if self._prober is None or self._prober.done():
            self._prober = asyncio.create_task(self._ask(), name=f"probe {self._database}")
        self._on_change()

    def find(self) -> None:
        """Note that it is back."""
        if not self.away:
            return
        self.reason = None
        emit(DatabaseBack(self._database))
        self._on_change()

    def confirm(self) -> None:
        """Note that a whole run went through.

        Only this shortens the pause again: a login that works while runs do not must not
        make the two chase each other.
        """
        self.find()
        self._pause = _FIRST_PAUSE

    async def close(self) -> None:
        """Ask no more."""
        if self._prober is not None:
            self._prober.cancel()
            await asyncio.wait([self._prober])

    async def _ask(self) -> None:
        while self.away:
            # at least half the pause, so that a refused login is not a storm
            await self._clock.sleep(self._pause * (0.5 + 0.5 * self._draw()))
            self._pause = min(self._pause * 2, _LONGEST_PAUSE)
            if not self.away:
                return
            try:
                await self._probe()
            except (SweeperdError, OSError) as error:
                self.reason = str(error)
            except Exception as error:  # noqa: BLE001 - the probe must outlive whatever it meets
                emit(ProbeFailed(self._database, repr(error)))
            else:
                self.find()
