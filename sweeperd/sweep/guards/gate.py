"""Asked before every batch: is the sweep held? A hold is in force once no batch is under way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from sweeperd.config.models import SweepConfig
from sweeperd.sweep.guards.batch_lock import LOCK
from sweeperd.sweep.guards.hold_file import Hold, Holds
from sweeperd.sweep.outcome.report import RunEndError

_RETRY_SECONDS: Final = 0.01


@dataclass(frozen=True)
class Gate:
    """Lets the batches of one sweep through, one after the other or side by side.

    Attributes:
        holds: The holds of the state directory.
        sweep: The sweep.
    """

    holds: Holds
    sweep: SweepConfig

    def check(self) -> None:
        """Raise RunEndError when the sweep is held."""
        hold = self.holds.find(self.sweep)
        if hold is not None:
            raise held(hold)

    @asynccontextmanager
    async def batch(self) -> AsyncIterator[None]:
        """Keep a hold from being answered while a batch is under way.

        Raises:
            RunEndError: The sweep is held, or its lock cannot be taken.
        """
        with ExitStack() as stack:
            try:
                try_lock = stack.enter_context(self.holds.locks.batch(self.sweep.name))
            except OSError as error:
                raise self._unusable(error) from error
            while not self._is_locked(try_lock):
                self.check()
                await asyncio.sleep(_RETRY_SECONDS)
            self.check()
            yield

    def _is_locked(self, try_lock: Callable[[], bool]) -> bool:
        try:
            return try_lock()
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> RunEndError:
        path = self.holds.state_dir / LOCK
        return RunEndError("held", f"the lock file {path} cannot be used: {error.strerror}")


def held(hold: Hold) -> RunEndError:
    """Return how a run ends for a hold."""
    by = f" by {hold.by}" if hold.by else ""
    return RunEndError("held", f"held{by}: {hold.reason}" if hold.reason else f"held{by}")
