"""Drives one lane to its end: batch, commit, advance, count, wait; and reacts to errors."""

from __future__ import annotations

import asyncio
from typing import Final

from sweeperd.postgres.sql.rows import Table, lock_probe
from sweeperd.postgres.sqlstate import Fault, classify, describe
from sweeperd.postgres.transaction import CommitUnknownError, Connection, execute, fence_key
from sweeperd.sweep.execute.backoff import Backoff
from sweeperd.sweep.execute.batch import (
    BatchTimeoutError,
    Deleted,
    FenceTakenError,
    TooManyRowsError,
)
from sweeperd.sweep.execute.batch_size import BatchSize
from sweeperd.sweep.execute.bisect import Bisection
from sweeperd.sweep.execute.context import Run
from sweeperd.sweep.execute.locked_rows import Leftovers
from sweeperd.sweep.execute.session import Session
from sweeperd.sweep.lanes.lane import Lane, Piece, SwitchError
from sweeperd.sweep.outcome.report import RunEndError
from sweeperd.sweep.plan.recheck import SecondLook

_RETRIES: Final = 5
_UNKNOWN: Final = (
    "the answer to one COMMIT was lost and its fate is not known: deleted_count may be one batch "
    "too low"
)


class Worker:
    """One lane of a run."""

    def __init__(
        self, run: Run, lane: Lane, session: Session, second_look: SecondLook | None = None
    ) -> None:
        self._run = run
        self._lane = lane
        self._second_look = second_look
        self._session = session
        self._backoff = Backoff()
        self._retries = 0
        self._piece: Piece | None = None  # the slice at hand
        self._pieces: list[tuple[Piece, int]] = []  # of the batch at hand, with rows held
        self._alone = 0  # batches of one slice, while an error is looked for
        self._finished = False
        self._in_doubt = Deleted(0, 0, 0.0, cancelled=False)
        self._fence = fence_key(run.server.database, run.table, run.sweep.name, lane.name)
        self._leftovers = Leftovers(run, lane.name, session, self._fence)
        learned = run.report.memory.get("sizes", {}).get(lane.strategy, lane.first_size)
        target = min(run.sweep.batch_target.total_seconds(), run.limits.statement_seconds / 2)
        self._size = BatchSize(lane, target, int(learned))

    async def drive(self) -> None:
        """Sweep the lane from its cursor to its end.

        Raises:
            RunEndError: The run must end.
            SwitchError: The leaf is better swept by another strategy.
        """
        # Each turn moves the lane, makes the batch smaller, tries its slices one by one, or waits.
        while not self._finished:
            self._run.turns.turn(self._lane.name, self._lane.position)
            await self._run.gate()
            with self._run.allowance() as rows:
                if rows < 1:  # another lane holds the rest of max_rows
                    await self._run.wait("max_rows", 0.01)
                    continue
                await self._step(rows)
        self._run.remember(self._lane.name, None)
        await self._leftovers.retry()

    async def _step(self, rows: int) -> None:
        self._piece, self._pieces = None, []
        try:
            connection = await self._session.get()
            frame, size = self._run.limits.frame, self._size.units(rows)
            await self._lane.prepare(connection, frame, self._lane.position, size, rows)
            done = await self._run.batch(connection, self._fence, self._work(size, rows))
        except (RunEndError, SwitchError):
            raise
        except CommitUnknownError as error:
            await self._settle_commit(error)
        except Exception as error:  # noqa: BLE001 - each is classified, none is swallowed
            self._run.turns.rolled_back(self._lane.name, self._lane.position)
            await self._react(error, rows)
        else:
            self._commit(done)

    def _work(self, size: int, rows: int):  # type: ignore[no-untyped-def]  # noqa: ANN202 - batch.Work
        """Delete one slice, or as many small ones as fit into a batch; the lane stays."""

        async def work(connection: Connection) -> tuple[int, int]:
            gone = locked = 0
            left, position = size, self._lane.position
            while gone < rows:
                self._run.turns.turn(self._lane.name, position)
                piece = self._lane.next(position, left, rows - gone)
                self._piece = piece
                if piece is None:
                    break
                self._run.turns.statement()
                deleted, held = await self._run.delete(
                    connection, piece.target, piece.part, rows - gone, skip_locked=self._skipping
                )
                self._pieces.append((piece, held))
                gone, locked, left = gone + deleted, locked + held, left - piece.units
                if piece.last or self._alone or left < self._lane.least_joined:
                    break
                self._run.turns.moved(self._lane.name, position, piece.end)
                position = piece.end
            self._in_doubt = Deleted(gone, locked, 0.0, cancelled=False)
            return gone, locked

        return work

    @property
    def _skipping(self) -> bool:
        return self._run.skip_locked and self._run.lockable and self._lane.has_places

    def _commit(self, done: Deleted) -> None:
        """Advance and count after the answer to COMMIT, and only then."""
        self._retries = 0
        self._alone = max(self._alone - 1, 0)
        self._backoff.reset()
        self._run.count(done, self._lane.name)
        units = self._units()
        blocks = units // self._lane.units_per_block if self._lane.units_per_block else 0
        if units:
            pause = self._size.record(units, done.rows, done.seconds)
            self._run.delay("read_budget", pause)
        self._pass()
        if done.cancelled:
            raise asyncio.CancelledError
        self._look_again(blocks, done.rows)

    def _look_again(self, blocks: int, rows: int) -> None:
        look = self._second_look
        if look is None or self._finished:
            return
        look.take(rows, blocks)
        if look.better is not None:
            raise SwitchError(look.better, look.reason)

    def _pass(self) -> None:
        """Move behind the slices of a batch that was committed."""
        for piece, held in self._pieces:
            self._leftovers.note(piece, held)
        if self._pieces:
            self._advance(self._pieces[-1][0])
        self._finished = self._finished or self._piece is None

    def _units(self) -> int:
        return sum(piece.units for piece, _ in self._pieces)

    def _advance(self, piece: Piece) -> None:
        """Move behind a slice that is done.

        Raises:
            RunEndError: It does not end behind where the lane is, by a bug.
        """
        before = self._lane.position
        self._lane.advance(piece)
        self._finished = piece.last
        self._run.turns.moved(self._lane.name, before, self._lane.position)
        self._run.remember(self._lane.name, self._lane.cursor())
        self._keep_size()

    def _keep_size(self) -> None:
        """Let the next run begin with what was learned, even if no batch went through."""
        sizes = self._run.report.memory.setdefault("sizes", {})
        sizes[self._lane.strategy] = self._size.pace.size

    @property
    def _joined(self) -> bool:
        """Whether the slice at hand was not alone in its batch."""
        return bool(self._pieces) and self._piece is not self._pieces[0][0]

    async def _react(self, error: Exception, rows: int) -> None:
        if isinstance(error, FenceTakenError):
            raise RunEndError("yielded", "another instance sweeps here") from error
        if self._joined and classify(error) in {Fault.ROW, Fault.LOCK}:
            self._alone = len(self._pieces) + 1  # the slice that is in the way shows itself
        elif isinstance(error, TooManyRowsError):
            self._too_many(rows)
        elif isinstance(error, BatchTimeoutError) or classify(error) is Fault.TIMEOUT:
            await self._smaller("a batch took longer than its time even with one row")
        else:
            await self._react_to_fault(error, classify(error), rows)

    def _too_many(self, rows: int) -> None:
        """Take smaller slices; one value of a table swept as a whole cannot be cut.

        Raises:
            RunEndError: It is such a value.
        """
        run, piece = self._run, self._piece
        if piece is not None and piece.least:
            key = run.narrowest
            raise RunEndError(
                "capped" if key == "max_rows" and run.report.deleted_count else "failed",
                f"more than {rows} rows of {piece.target.table.quoted} share one value of "
                f"{piece.target.column.column}, and what is swept as a whole cannot be cut finer; "
                f"raise {key}",
            )
        self._size.too_many(piece.units if piece else 1, rows)

    async def _react_to_fault(self, error: Exception, fault: Fault, rows: int) -> None:
        if fault is Fault.LOCK:
            await self._react_to_lock(error, rows)
        elif fault is Fault.ROW:
            await self._bisect(error, rows)
        else:
            await self._react_to_server(error, fault)

    async def _react_to_server(self, error: Exception, fault: Fault) -> None:
        """React to a server or a connection that is unwell; the slice is not at fault.

        Raises:
            RunEndError: This sweep cannot continue.
        """
        run = self._run
        if fault is Fault.LOST:
            await self._session.drop()
            await self._after_loss(f"the connection ({describe(error)})")
        elif fault is Fault.RETRY and self._retries < _RETRIES:
            self._retries += 1
            await run.wait("retry", self._backoff.next() / 10)
        elif fault in {Fault.THROTTLE, Fault.RETRY}:
            await run.throttle(describe(error), self._backoff.next())
        else:
            raise RunEndError("failed", describe(error)) from error

    async def _react_to_lock(self, error: Exception, rows: int) -> None:
        """First conflict: wait for nobody from now on. A lock on the table itself: throttle."""
        if await self._table_is_locked():
            name = self._table.quoted
            await self._run.throttle(f"table {name} is locked", self._backoff.next())
        elif self._skipping or not self._run.lockable:
            await self._bisect(error, rows)
        elif self._run.skip_locked:
            await self._smaller("rows are locked by others")
        else:
            self._run.skip_locked = True

    @property
    def _table(self) -> Table:
        return (self._piece or self._lane).target.table

    async def _table_is_locked(self) -> bool:
        async def touch(connection: Connection) -> tuple[int, int]:
            await execute(connection, lock_probe(self._table))
            return 0, 0

        try:
            connection = await self._session.get()
            await self._run.batch(connection, self._fence, touch)
        except FenceTakenError as error:
            raise RunEndError("yielded", "another instance sweeps here") from error
        except Exception as error:  # noqa: BLE001 - only a lock is of interest; the rest comes again
            return classify(error) is Fault.LOCK
        return False

    async def _smaller(self, reason: str) -> None:
        if self._size.pace.size > 1:
            at_hand = self._piece.units if self._piece else 0
            self._size.pace.halve(max(self._units(), at_hand) or None)
            self._keep_size()
        else:
            await self._run.throttle(reason, self._backoff.next())

    async def _bisect(self, error: Exception, rows: int) -> None:
        """Find the rows that the database refuses, step over them, delete the others.

        Raises:
            RunEndError: The error is no row's: without a slice there is nothing to halve.
        """
        piece = self._piece
        if piece is None:
            raise RunEndError("failed", describe(error)) from error
        if not self._lane.has_places:
            if self._size.pace.size > 1:
                self._size.pace.halve()
                return
            self._run.refused_rows += 1
            self._run.count_skipped()
            self._advance(piece)
            return
        bisection = Bisection(self._run, piece.target, self._session, self._fence)
        try:
            locked = await bisection.delete(piece.part, self._lane.name, rows)
        except RunEndError:
            raise
        except CommitUnknownError as lost:
            await self._after_lost_commit(lost)
        except Exception as failed:  # noqa: BLE001 - classified like any batch's
            await self._react_to_bisection(failed)
        else:
            if locked is not None:
                self._leftovers.note(piece, locked)
                self._advance(piece)

    async def _react_to_bisection(self, error: Exception) -> None:
        """React to what ended a bisection; the slice is tried again, but never from in here.

        Raises:
            RunEndError: Nothing can be changed about it.
        """
        fault = classify(error)
        if isinstance(error, FenceTakenError):
            raise RunEndError("yielded", "another instance sweeps here") from error
        if isinstance(error, BatchTimeoutError) or fault is Fault.TIMEOUT:
            await self._smaller("a batch took longer than its time even with one row")
        elif fault is Fault.LOCK:
            await self._run.throttle(describe(error), self._backoff.next())
        elif fault is Fault.ROW:
            raise RunEndError("failed", describe(error)) from error
        else:
            await self._react_to_server(error, fault)

    async def _settle_commit(self, lost: CommitUnknownError) -> None:
        """Count a batch whose COMMIT was not answered only if the server says so."""
        if lost.cancelled:  # the run's time is over: nothing may be waited for any more
            self._run.report.warn(_UNKNOWN)
            raise asyncio.CancelledError
        committed = await self._session.was_committed(lost, self._run)
        if committed:
            self._run.count(self._in_doubt, self._lane.name)
            self._pass()
            return
        if committed is None:
            self._run.report.warn(_UNKNOWN)
        await self._after_loss("the answer to COMMIT")

    async def _after_lost_commit(self, lost: CommitUnknownError) -> None:
        """React to a COMMIT of a bisection without an answer: its slice is looked at again."""
        self._run.report.warn(_UNKNOWN)
        if lost.cancelled:
            raise asyncio.CancelledError
        await self._session.drop()
        await self._after_loss("the answer to COMMIT")

    async def _after_loss(self, what: str) -> None:
        """Try again at once after a first loss; wait after each further one."""
        self._retries += 1
        if self._retries > 1:
            await self._run.throttle(f"{what} is lost again and again", self._backoff.next())
