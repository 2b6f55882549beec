"""The lanes of a run, shared out among its workers; a leaf that is in the way is set aside."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Final

from sweeperd.errors import EXIT_UNAVAILABLE, SweepError
from sweeperd.log.run_events import StrategyChanged
from sweeperd.postgres.catalog import read_relation
from sweeperd.postgres.catalog_reads import CatalogReads
from sweeperd.postgres.sqlstate import SERVER_ERRORS
from sweeperd.postgres.transaction import reading
from sweeperd.sweep.execute.backoff import Backoff
from sweeperd.sweep.execute.context import RunContext
from sweeperd.sweep.execute.session import Session
from sweeperd.sweep.execute.turns import SpinError
from sweeperd.sweep.execute.worker import Worker
from sweeperd.sweep.lanes.build import lanes
from sweeperd.sweep.lanes.chain import ChainLane
from sweeperd.sweep.lanes.lane import Lane, SwitchError
from sweeperd.sweep.outcome.report import LeafPlan, LeafSetAsideError, RunEndError
from sweeperd.sweep.plan.strategy import Choice

# A leaf is tried this often while others are waited for, or while nothing else is left to do.
_MOST_TRIES: Final = 5
_MOST_RESTARTS: Final = 3


class Pool:
    """Drives every lane of every leaf, at most ``workers`` at a time.

    Args:
        run: The run.
        choices: Its leaves and their strategies, beginning with the one whose turn it is.
    """

    def __init__(self, run: RunContext, choices: Sequence[Choice]) -> None:
        self._run = run
        self._choices = {choice.leaf.key: choice for choice in choices}
        self._todo: deque[tuple[Choice, Lane]] = deque()
        self._tries: Counter[str] = Counter()
        self._restarts: Counter[str] = Counter()
        self._backoff = Backoff()
        self._add(choices)

    def _add(self, choices: Sequence[Choice]) -> None:
        run = self._run
        self._todo += lanes(choices, run.sweep, run.server, run.sweep_pass)

    async def sweep(self, session: Session) -> None:
        """Sweep all lanes; an end that is not one leaf's ends them all.

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
        # A leaf is taken up again after a switch, which happens twice at most (from what statistics
        # told to the other strategy, and from index to heap for a shared value), after a rewrite
        # and behind a lock, which are counted. A chain is shorter by one leaf each time.
        while self._todo:
            self._run.turns.turn("lanes", len(self._todo))
            choice, lane = self._todo.popleft()
            if not isinstance(lane, ChainLane) and not self._run.sweep_pass.is_open(lane.leaf):
                continue
            worker = Worker(self._run, lane, session, choice.second_look)
            try:
                await worker.drive()
            except SwitchError as switch:
                self._switch(choice, switch)
            except RunEndError as end:
                await self._without(_of_one_leaf(end, worker), lane, worker.leaf, session)

    def _switch(self, choice: Choice, switch: SwitchError) -> None:
        """Go on with the other strategy, from the leaf's start."""
        run, leaf = self._run, choice.leaf
        run.report.plan.append(LeafPlan(leaf.relation.shown, switch.strategy, switch.reason))
        run.listener(StrategyChanged(run.sweep.name, switch.strategy, switch.reason))
        self._take_up(
            replace(choice, strategy=switch.strategy, reason=switch.reason, expected=None)
        )

    def _take_up(self, choice: Choice) -> None:
        self._choices[choice.leaf.key] = choice
        self._add([choice])

    async def _without(
        self, end: LeafSetAsideError, lane: Lane, at_hand: str, session: Session
    ) -> None:
        """Go on without a leaf: for now, or for the rest of the run.

        Raises:
            LeafSetAsideError: It is the only one.
        """
        key = end.leaf or at_hand
        if isinstance(lane, ChainLane):
            lane.leave(key)
            self._todo.appendleft((replace(self._choices[lane.leaf], expected=None), lane))
        if end.rewritten and self._restarts[key] < _MOST_RESTARTS:
            self._restarts[key] += 1
            if await self._restart(self._choices[key], session):
                return
        if self._run.sweep_pass.is_alone:
            raise end
        if end.passes and await self._try_later(key, end.reason):
            return
        self._run.set_aside(key, self._choices[key].leaf.relation.shown, end)

    async def _restart(self, choice: Choice, session: Session) -> bool:
        """Begin a leaf again whose rows are in another file; tell whether that could be done."""
        run, leaf = self._run, choice.leaf
        try:
            connection = await session.get()
            run.turns.statement()
            async with reading(connection):
                relation = await read_relation(CatalogReads(connection), leaf.relation.oid)
                now = await run.identity.look_again(connection, relation)
        except (SweepError, *SERVER_ERRORS):  # it is gone, or is locked once more
            return False
        if now is None:
            return False
        if run.sweep_pass[leaf.key].heap_file != now.heap_file:
            run.sweep_pass.restart(leaf.key, now, relation.blocks)
            leaf = replace(leaf, relation=relation, blocks=relation.blocks)
            self._take_up(replace(choice, leaf=leaf, expected=None))
        return True

    async def _try_later(self, key: str, reason: str) -> bool:
        """Put a locked leaf behind the others; tell whether it is tried again in this run.

        While no leaf at all could be swept there is nothing better to do than to wait.
        """
        run = self._run
        self._tries[key] += 1
        others = any(not self._tries[lane.leaf] for _, lane in self._todo)
        if not others:
            if self._tries[key] > _MOST_TRIES and run.sweep_pass.done:
                return False
            await run.waits.throttle(reason, self._backoff.next(), "lock")
            run.waits.check()
        self._add([self._choices[key]])
        return True


def _of_one_leaf(end: RunEndError, worker: Worker) -> LeafSetAsideError:
    """Return what ends the work on one leaf only.

    Raises:
        RunEndError: It ends the run.
    """
    if isinstance(end, LeafSetAsideError):
        return end
    if end.outcome != "failed" or isinstance(end, SpinError) or end.exit_code == EXIT_UNAVAILABLE:
        raise end
    raised = LeafSetAsideError("failed", end.reason, leaf=worker.leaf)
    raised.__cause__ = end
    return raised
