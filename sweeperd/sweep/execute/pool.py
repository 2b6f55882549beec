"""The lanes of a run, shared out among its workers."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import AsyncExitStack
from dataclasses import replace

from sweeperd.log.run_events import StrategyChanged
from sweeperd.sweep.execute.context import RunContext
from sweeperd.sweep.execute.session import Session
from sweeperd.sweep.execute.worker import Worker
from sweeperd.sweep.lanes.build import lanes
from sweeperd.sweep.lanes.lane import Lane, SwitchError
from sweeperd.sweep.outcome.report import LeafPlan
from sweeperd.sweep.plan.strategy import Choice


class Pool:
    """Drives every lane of every leaf, at most ``workers`` at a time.

    Args:
        run: The run.
        choices: Its leaves and their strategies.
    """

    def __init__(self, run: RunContext, choices: list[Choice]) -> None:
        self._run = run
        self._todo: deque[tuple[Choice, Lane]] = deque()
        self._add(choices)

    def _add(self, choices: list[Choice]) -> None:
        run = self._run
        self._todo += lanes(choices, run.sweep, run.server, run.identity, run.memory.cursors)

    async def sweep(self, session: Session) -> None:
        """Sweep all lanes; the first that ends the run ends them all.

        Args:
            session: The first worker's.

        Raises:
            RunEndError: The run must end.
        """
        try:
            async with AsyncExitStack() as stack:
                sessions = [session]
                for _ in range(min(self._run.sweep.workers, len(self._todo)) - 1):
                    # who holds a connection must not wait for a second one: runs that did so
                    # would wait for one another for ever
                    if not self._run.database.has_free_slot:
                        break
                    extra = await stack.enter_async_context(Session(self._run.database))
                    extra.join(self._run)
                    sessions.append(extra)
                await self._together(sessions)
        except asyncio.CancelledError:
            if self._run.waits.blocked is not None:
                self._run.report.end(self._run.waits.blocked)
            raise

    async def _together(self, sessions: list[Session]) -> None:
        if len(sessions) == 1:
            await self._work(sessions[0])
            return
        tasks = [asyncio.ensure_future(self._work(session)) for session in sessions]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, session: Session) -> None:
        # A leaf is taken up again after a switch only, which happens twice at most: from what
        # statistics told to the other strategy, and from index to heap for a shared value.
        while self._todo:
            self._run.turns.turn("lanes", len(self._todo))
            choice, lane = self._todo.popleft()
            try:
                await Worker(self._run, lane, session, choice.second_look).drive()
            except SwitchError as switch:
                self._run.memory.keep_cursor(lane.name, None)
                self._switch(choice, switch)

    def _switch(self, choice: Choice, switch: SwitchError) -> None:
        """Go on with the other strategy, from the leaf's start."""
        run, leaf = self._run, choice.leaf
        run.report.plan.append(LeafPlan(leaf.relation.shown, switch.strategy, switch.reason))
        run.listener(StrategyChanged(run.sweep.name, switch.strategy, switch.reason))
        self._add([replace(choice, strategy=switch.strategy, reason=switch.reason, expected=None)])
