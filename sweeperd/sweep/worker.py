"""Drives one lane to its end: batch, commit, advance, count, wait; and reacts to errors."""

from __future__ import annotations

import asyncio
from typing import Final

from sweeperd.postgres.errors import Fault, classify, describe
from sweeperd.postgres.sql import Slice, lock_probe
from sweeperd.postgres.transaction import CommitUnknownError, Connection, execute, fence_key
from sweeperd.sweep.batch import (
    BatchTimeoutError,
    Deleted,
    FenceTakenError,
    TooManyRowsError,
    delete_slice,
    run_batch,
)
from sweeperd.sweep.bisect import Bisection
from sweeperd.sweep.lane import Lane, Piece, SharedValueError
from sweeperd.sweep.pace import Pace
from sweeperd.sweep.report import RunEndError
from sweeperd.sweep.run import Backoff, Run
from sweeperd.sweep.session import Session

_RETRIES: Final = 5
_DENSITY_MARGIN: Final = 0.95
_SKIPPED_ROUNDS: Final = (0.05, 0.2, 1.0)  # seconds waited before each round
_MOST_SKIPPED_SLICES: Final = 10_000


class Worker:
    """One lane of a run."""

    def __init__(self, run: Run, lane: Lane, session: Session) -> None:
        self._run = run
        self._lane = lane
        self._session = session
        self._backoff = Backoff()
        self._retries = 0
        self._piece: Piece | None = None
        self._finished = False
        self._density = 0.0  # rows per unit, the most seen
        self._in_doubt = Deleted(0, 0, 0.0, cancelled=False)
        self._skipped: dict[Slice, int] = {}
        table = lane.target.table
        self._fence = fence_key(
            run.server.database, table.schema, table.name, run.sweep.name, lane.name
        )
        learned = run.report.memory.get("sizes", {}).get(lane.strategy, lane.first_size)
        target = min(run.sweep.batch_target.total_seconds(), run.limits.statement_seconds / 2)
        self.pace = Pace(target, int(learned), lane.largest_size)

    async def drive(self) -> None:
        """Sweep the lane from its cursor to its end.

        Raises:
            RunEndError: The run must end.
            SharedValueError: Slices of the column cannot go on here; block ranges can.
        """
        while not self._finished:
            await self._run.gate()
            with self._run.allowance() as rows:
                if rows < 1:  # another lane holds the rest of max_rows
                    await self._run.wait("max_rows", 0.01)
                    continue
                await self._step(rows)
        self._run.remember(self._lane.name, None)
        await self._retry_skipped()

    async def _step(self, rows: int) -> None:
        try:
            connection = await self._session.get()
            done = await run_batch(connection, self._run.limits, self._fence, self._work(rows))
        except (RunEndError, SharedValueError):
            raise
        except Exception as error:  # noqa: BLE001 - each is classified, none is swallowed
            await self._react(error, rows)
            return
        self._commit(done)

    def _work(self, rows: int):  # type: ignore[no-untyped-def]  # noqa: ANN202 - batch.Work
        async def work(connection: Connection) -> tuple[int, int]:
            self._piece = await self._lane.next(connection, self._size(rows), rows)
            if self._piece is None:
                return 0, 0
            gone, locked = await delete_slice(
                connection,
                self._lane.target,
                self._piece.part,
                limit=rows,
                skip_locked=self._skipping,
                archive=self._run.archive,
            )
            self._in_doubt = Deleted(gone, locked, 0.0, cancelled=False)
            return gone, locked

        return work

    def _size(self, rows: int) -> int:
        """Return the next batch's units: by time, and by the densest rows seen so far.

        No lane has more rows than units, so that the first batches are safe, too.
        """
        if not self._density:
            return max(min(self.pace.size, rows), 1)
        return max(min(self.pace.size, int(rows * _DENSITY_MARGIN / self._density)), 1)

    @property
    def _skipping(self) -> bool:
        return self._run.skip_locked and self._run.lockable and self._lane.has_places

    def _commit(self, done: Deleted) -> None:
        """Advance and count after the answer to COMMIT, and only then."""
        piece, self._retries = self._piece, 0
        self._backoff.reset()
        self._run.count(done, self._lane.name)
        if piece is None:
            self._finished = True
        else:
            self.pace.record(piece.units, done.seconds)
            self._density = max(self._density, done.rows / piece.units)
            self._note_skipped(piece.part, done.skipped)
            self._advance(piece)
        if done.cancelled:
            raise asyncio.CancelledError

    def _advance(self, piece: Piece) -> None:
        self._lane.advance(piece)
        self._finished = piece.last
        self._run.remember(self._lane.name, self._lane.cursor())
        self._keep_size()

    def _keep_size(self) -> None:
        """Let the next run begin with what was learned, even if no batch went through."""
        sizes = self._run.report.memory.setdefault("sizes", {})
        sizes[self._lane.strategy] = self.pace.size

    def _note_skipped(self, part: Slice, rows: int) -> None:
        self._skipped.pop(part, None)
        if rows:
            self._skipped[part] = rows
        self._run.locked_rows[self._lane.name] = sum(self._skipped.values())
        self._run.count_skipped()

    async def _react(self, error: Exception, rows: int) -> None:
        if isinstance(error, FenceTakenError):
            raise RunEndError("yielded", "another instance sweeps here") from error
        if isinstance(error, TooManyRowsError):
            self.pace.limit(max(self._piece.units // 2 if self._piece else 1, 1))
        elif isinstance(error, CommitUnknownError):
            await self._settle_commit(error)
        elif isinstance(error, BatchTimeoutError) or classify(error) is Fault.TIMEOUT:
            await self._smaller("a batch took longer than its time even with one row")
        else:
            await self._react_to_fault(error, classify(error), rows)

    async def _react_to_fault(self, error: Exception, fault: Fault, rows: int) -> None:
        run = self._run
        if fault is Fault.LOST:
            await self._session.drop()
            self._retries += 1
            if self._retries > 1:
                await run.throttle(
                    f"the connection is lost again and again: {describe(error)}",
                    self._backoff.next(),
                )
        elif fault is Fault.RETRY and self._retries < _RETRIES:
            self._retries += 1
            await run.wait("retry", self._backoff.next() / 10)
        elif fault is Fault.LOCK:
            await self._react_to_lock(rows)
        elif fault is Fault.ROW:
            await self._bisect(rows)
        elif fault in {Fault.THROTTLE, Fault.RETRY}:
            await run.throttle(describe(error), self._backoff.next())
        else:
            raise RunEndError("failed", describe(error)) from error

    async def _react_to_lock(self, rows: int) -> None:
        """First conflict: wait for nobody from now on. A lock on the table itself: throttle."""
        if await self._table_is_locked():
            name = self._lane.target.table.quoted
            await self._run.throttle(f"table {name} is locked", self._backoff.next())
        elif self._skipping or not self._run.lockable:
            await self._bisect(rows)
        elif self._run.skip_locked:
            await self._smaller("rows are locked by others")
        else:
            self._run.skip_locked = True

    async def _table_is_locked(self) -> bool:
        async def touch(connection: Connection) -> tuple[int, int]:
            await execute(connection, lock_probe(self._lane.target.table))
            return 0, 0

        try:
            connection = await self._session.get()
            await run_batch(connection, self._run.limits, self._fence, touch)
        except FenceTakenError as error:
            raise RunEndError("yielded", "another instance sweeps here") from error
        except Exception as error:  # noqa: BLE001 - only a lock is of interest; the rest comes again
            return classify(error) is Fault.LOCK
        return False

    async def _smaller(self, reason: str) -> None:
        if self.pace.size > 1:
            self.pace.halve(self._piece.units if self._piece else None)
            self._keep_size()
        else:
            await self._run.throttle(reason, self._backoff.next())

    async def _bisect(self, rows: int) -> None:
        """Find the rows that the database refuses, step over them, delete the others."""
        piece = self._piece
        if piece is None:
            return
        if not self._lane.has_places:
            if self.pace.size > 1:
                self.pace.halve()
                return
            self._run.refused_rows += 1
            self._run.count_skipped()
            self._advance(piece)
            return
        bisection = Bisection(self._run, self._lane.target, self._session, self._fence)
        try:
            locked = await bisection.delete(piece.part, self._lane.name, rows)
        except RunEndError:
            raise
        except Exception as error:  # noqa: BLE001 - classified like any batch's
            await self._react(error, rows)
            return
        if locked is not None:
            self._note_skipped(piece.part, locked)
            self._advance(piece)

    async def _settle_commit(self, lost: CommitUnknownError) -> None:
        """Count a batch whose COMMIT was not answered only if the server says so."""
        committed = await self._session.was_committed(lost, self._run)
        if committed and self._piece is not None:
            self._run.count(self._in_doubt, self._lane.name)
            self._note_skipped(self._piece.part, self._in_doubt.skipped)
            self._advance(self._piece)
        elif committed is None:
            self._run.report.warn(
                "the answer to one COMMIT was lost and the server cannot tell its fate: "
                "deleted_count may be one batch too low"
            )

    async def _retry_skipped(self) -> None:
        """Go back for rows that others had locked; the lane is not drained without them."""
        for pause in _SKIPPED_ROUNDS:
            if not self._skipped:
                return
            await self._run.wait("locked_rows", pause)
            for part in list(self._skipped):
                await self._run.gate()
                with self._run.allowance() as rows:
                    if rows >= 1:
                        await self._retry(part, rows)

    async def _retry(self, part: Slice, rows: int) -> None:
        async def work(connection: Connection) -> tuple[int, int]:
            return await delete_slice(
                connection,
                self._lane.target,
                part,
                limit=rows,
                skip_locked=True,
                archive=self._run.archive,
            )

        try:
            connection = await self._session.get()
            done = await run_batch(connection, self._run.limits, self._fence, work)
        except Exception as error:
            if classify(error) is Fault.FATAL and not isinstance(
                error, FenceTakenError | BatchTimeoutError | TooManyRowsError | CommitUnknownError
            ):
                raise
            return
        self._run.count(done, self._lane.name)
        self._note_skipped(part, done.skipped)
        if done.cancelled:
            raise asyncio.CancelledError
