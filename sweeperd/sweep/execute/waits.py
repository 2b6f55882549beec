"""What a run waits for between two batches, and what ends it there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from sweeperd.config.models import SweepConfig
from sweeperd.host.clock import Clock
from sweeperd.log.event import Listener
from sweeperd.log.events import SweepThrottled
from sweeperd.log.run_events import Waited, Waiting
from sweeperd.sweep.execute.row_limits import RowLimits
from sweeperd.sweep.execute.turns import Turns
from sweeperd.sweep.guards.gate import Gate
from sweeperd.sweep.outcome.report import Report, RunEndError

_ROWS_SECONDS: Final = 0.01


@dataclass
class Waits:
    """The waits of one run, shared by its lanes; never inside a transaction.

    Attributes:
        sweep: Its name and window.
        clock: The host's clocks.
        listener: Hears of each wait.
        report: Adds up the time waited.
        stop: When set, the run ends.
        row_limits: End the run when they are reached.
        turns: Ends the run when one of its loops spins.
        hold_gate: Tells whether the sweep is held; None where nothing may hold it.
        blocked: Why the run waits at this moment, and the outcome if it ends so.
        skip_locked: A lock conflict was met: for the rest of the run nobody is waited for.
    """

    sweep: SweepConfig
    clock: Clock
    listener: Listener
    report: Report
    stop: asyncio.Event
    row_limits: RowLimits
    turns: Turns = field(default_factory=Turns)
    hold_gate: Gate | None = None
    blocked: RunEndError | None = None
    skip_locked: bool = False
    _next_start: float = 0.0
    _why: str = ""

    async def gate(self) -> None:
        """Wait for what a batch must wait for.

        Raises:
            RunEndError: The run must not go on.
        """
        self.check()
        while (ahead := self._next_start - self.clock.elapsed()) > 0:
            self.turns.turn(self._why)
            await self.wait(self._why, ahead)
            self.check()

    @asynccontextmanager
    async def allowed_rows(self) -> AsyncIterator[int]:
        """Wait for what a batch must wait for, and reserve rows for it; at least one.

        Raises:
            RunEndError: The run must not go on.
        """
        while True:
            await self.gate()
            with self.row_limits.reserve_rows() as rows:
                if rows >= 1:
                    yield rows
                    return
                exhausted = self.row_limits.exhausted_limit
            await self.wait(exhausted, _ROWS_SECONDS)  # until another lane's batch has ended

    def check(self) -> None:
        """Raise RunEndError when the run was stopped, its cap is reached or its window closed."""
        self.check_time()
        self.row_limits.check()

    def check_time(self) -> None:
        """Raise RunEndError when the run was stopped or its window closed."""
        if self.stop.is_set():
            if self.hold_gate is not None:
                self.hold_gate.check()  # the daemon stops a run whose sweep is held
            raise RunEndError("stopped", "asked to stop")
        if self.sweep.window and not self.sweep.window.contains(self.clock.now()):
            raise RunEndError("capped", f"the window {self.sweep.window} closed")

    def delay(self, reason: str, seconds: float) -> None:
        """Let the next batch of any lane start later; `gate` waits for it."""
        if seconds > 0:
            self._next_start = max(self._next_start, self.clock.elapsed()) + seconds
            self._why = reason

    async def throttle(self, reason: str, seconds: float, cause: str = "server") -> None:
        """Wait because the server is unwell; if the run ends meanwhile, that is why.

        Args:
            reason: Why, as a sentence.
            seconds: How long.
            cause: Why, as one of few words.
        """
        first = self.blocked is None or self.blocked.reason != reason
        self.blocked = RunEndError("throttled", reason)
        if first:
            self.listener(SweepThrottled(self.sweep.name, reason, round(seconds, 3)))
        await self.wait(reason, seconds, cause)

    async def wait(self, reason: str, seconds: float, cause: str | None = None) -> None:
        """Wait outside any transaction; a stop ends the wait.

        Args:
            reason: What for.
            seconds: How long.
            cause: The reason as one of few words, where it is a sentence.
        """
        self.turns.wait()
        self.listener(Waiting(self.sweep.name, reason, round(seconds, 3)))
        begun = self.clock.elapsed()
        waits = {
            asyncio.ensure_future(self.clock.sleep(seconds)),
            asyncio.ensure_future(self.stop.wait()),
        }
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pending in waits:
                pending.cancel()
            spent = self.clock.elapsed() - begun
            waited = self.report.waited_seconds
            waited[reason] = waited.get(reason, 0.0) + spent
            self.listener(Waited(self.sweep.name, cause or reason, round(spent, 3)))
