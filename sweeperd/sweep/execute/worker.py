"""Drives one lane to its end: batch, commit, advance, count, wait; and reacts to errors."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Final

from sweeperd.postgres.sql.rows import lock_probe
from sweeperd.postgres.sql.slices import Tid
from sweeperd.postgres.sql.target import Table
from sweeperd.postgres.sqlstate import SERVER_ERRORS, Fault, classify, describe, is_referenced
from sweeperd.postgres.transaction import Connection, fence_key
from sweeperd.sweep.execute.backoff import Backoff
from sweeperd.sweep.execute.batch import Deleted, DeletesNothing, LaneTakenError, TooManyRowsError
from sweeperd.sweep.execute.batch_size import BatchSize
from sweeperd.sweep.execute.bisect import Bisection
from sweeperd.sweep.execute.context import RunContext
from sweeperd.sweep.execute.lock_holder import lock_holder
from sweeperd.sweep.execute.locked_rows import Leftovers
from sweeperd.sweep.execute.session import Session
from sweeperd.sweep.execute.settle import delete_settled, run_settled
from sweeperd.sweep.execute.trees import Trees
from sweeperd.sweep.lanes.chain import ChainLane
from sweeperd.sweep.lanes.lane import Lane, Piece, SwitchError
from sweeperd.sweep.outcome.report import LeafSetAsideError, RunEndError
from sweeperd.sweep.plan.recheck import SecondLook

_RETRIES: Final = 5
# Rows of which a trigger lets none go, before the rest of the leaf is left alone.
_MOST_SUPPRESSED: Final = 100
_MOST_JOINED: Final = 32  # slices of one batch


@dataclass(frozen=True)
class _Touch(DeletesNothing):
    """Takes a table's lock as a DELETE does, and touches no row."""

    table: Table

    async def do(self, connection: Connection, opening: str) -> int | None:
        await connection.execute(f"{opening}; {lock_probe(self.table).text}")
        return None


class Worker:
    """One lane of a run."""

    def __init__(
        self, run: RunContext, lane: Lane, session: Session, second_look: SecondLook | None = None
    ) -> None:
        self._run = run
        self._lane = lane
        self._second_look = second_look
        self._session = session
        self._backoff = Backoff()
        self._retries = 0
        self._piece: Piece | None = None  # the slice at hand
        self._pieces: list[Piece] = []  # of the batch at hand
        self._alone = 0  # batches of one slice, while an error is looked for
        self._probed: set[Table] = set()
        self._suppressed: dict[str, int] = {}  # rows that stayed in a row, by leaf
        self._slow_rows = 0  # timeouts of one row since a batch was committed
        self._finished = False
        self._fence = fence_key(run.server.database, run.table, run.sweep.name, lane.name)
        may_skip = run.lockable and lane.has_places
        self._leftovers = Leftovers(run, lane.name, session, self._fence, may_skip=may_skip)
        learned = run.memory.batch_sizes.get(lane.strategy, lane.first_size)
        target = min(run.sweep.batch_target.total_seconds(), run.limits.statement_seconds / 2)
        most = run.limits.statement_seconds
        self._size = BatchSize(lane, target, learned, most)

    async def drive(self) -> None:
        """Sweep the lane from its cursor to its end.

        Raises:
            RunEndError: The run must end.
            SwitchError: The leaf is better swept by another strategy.
        """
        # Each turn moves the lane, makes the batch smaller, tries its slices one by one, or waits.
        while not self._finished:
            self._run.turns.turn(self._lane.name, self._lane.position)
            if self._run.health is not None:
                await self._run.health.gate(self._session.get)
            async with self._run.waits.allowed_rows() as rows:
                await self._step(rows)
        await self._leftovers.retry()

    async def _step(self, rows: int) -> None:
        self._piece, self._pieces = None, []
        try:
            self._pieces = await self._take(rows)
            if not self._pieces:
                self._finished = True
                return
            if self._refers_to_itself(self._pieces[0]):
                await self._delete_trees(self._pieces[0], rows)
                return
            slices = [(piece.target, piece.part) for piece in self._pieces]
            watch = _MOST_SUPPRESSED if await self._may_be_suppressed() else 0
            work = self._run.deletion(slices, rows, skip_locked=self._skipping, watch=watch)
            done = await delete_settled(self._run, self._session, self._fence, work)
        except LaneTakenError as error:
            await self._react_to_taken(error)
        except (RunEndError, SwitchError):
            raise
        except Exception as error:  # noqa: BLE001 - each is classified, none is swallowed
            self._run.turns.rolled_back(self._lane.name, self._lane.position)
            await self._react(error, rows)
        else:
            self._commit(done, is_watched=watch > 0)

    async def _take(self, rows: int) -> list[Piece]:
        """Return the next slice, or as many small ones as fit into a batch; the lane stays."""
        pieces: list[Piece] = []
        size, position = self._size.units(rows), self._lane.position
        connection, frame = await self._session.get(), self._run.limits.frame
        await self._lane.prepare(connection, frame, position, size, rows)
        while True:
            self._run.turns.turn(self._lane.name, position)
            piece = self._lane.next(position, size, rows)
            if piece is None:
                break
            pieces.append(piece)
            self._run.sweep_pass.take_up(piece.leaf)
            self._piece, size = piece, size - piece.units
            alone = piece.last or self._alone or piece.target.two_steps
            if (
                alone
                or self._refers_to_itself(piece)
                or size < self._lane.least_joined
                or len(pieces) == _MOST_JOINED
            ):
                break
            self._run.turns.moved(self._lane.name, position, piece.end)
            position = piece.end
        return pieces

    def _refers_to_itself(self, piece: Piece) -> bool:
        """Whether rows go with those below them; places are needed for that."""
        keys = piece.target.cascades or self._run.references.to_itself(piece.target.table)
        return self._lane.has_places and bool(keys)

    async def _delete_trees(self, piece: Piece, rows: int) -> None:
        """Delete a slice and all that lies below its rows, in batches of their own."""
        clock = self._run.waits.clock
        begun = clock.elapsed()
        await self._learn_references()  # of keys that cascade no refusal tells
        trees = Trees(self._run, piece.target, self._session, self._fence)
        locked = await trees.delete(piece.part, self._lane.name, rows)
        if locked is not None:
            self._size.pace.record(piece.units, clock.elapsed() - begun)
            self._pass_by(piece, locked)

    def _pass_by(self, piece: Piece, locked: int) -> None:
        """Move behind a slice that was deleted by batches of its own, or stepped over."""
        self._note_locked(piece, locked)
        piece.committed(self._run.sweep_pass)
        self._advance(piece)

    @property
    def _skipping(self) -> bool:
        return self._run.waits.skip_locked and self._run.lockable and self._lane.has_places

    def _commit(self, done: Deleted, *, is_watched: bool) -> None:
        """Advance and count after the answer to COMMIT, and only then."""
        self._retries = self._slow_rows = 0
        self._alone = max(self._alone - 1, 0)
        self._backoff.reset()
        self._run.count(done, self._lane.name)
        units = self._units()
        blocks = units // self._lane.units_per_block if self._lane.units_per_block else 0
        if units:
            pause = self._size.record(units, done.rows, done.cost_seconds)
            self._run.waits.delay("read_budget", pause)
        if is_watched:
            self._take_suppressed(done)
            nothing = tuple((slice_rows, 0) for slice_rows, _ in done.by_slice)
            done = replace(done, by_slice=nothing, left=())
        self._pass(done)
        self._leave_suppressed()
        if done.cancelled:
            raise asyncio.CancelledError
        self._look_again(blocks, done.rows)

    async def _may_be_suppressed(self) -> bool:
        """Whether triggers may suppress deletes of the batch at hand, and that can be seen."""
        targets = [piece.target for piece in self._pieces]
        if self._skipping or any(target.two_steps for target in targets):
            return False
        tables = [target.table for target in targets]
        return await self._run.suppressors.any_on(await self._session.get(), tables)

    def _take_suppressed(self, done: Deleted) -> None:
        """Add up the expired rows that are there all the same since one went, by leaf."""
        for piece, (rows, stayed) in zip(self._pieces, done.by_slice, strict=True):
            before = 0 if rows else self._suppressed.get(piece.leaf, 0)
            self._suppressed[piece.leaf] = before + stayed

    def _leave_suppressed(self) -> None:
        """Have done with leaves whose trigger suppresses each row: it may update all of them."""
        for leaf, rows in self._suppressed.items():
            if rows >= _MOST_SUPPRESSED and self._run.sweep_pass.is_open(leaf):
                self._run.sweep_pass.stepped_over(leaf)
                self._run.sweep_pass.finish(leaf)
                if isinstance(self._lane, ChainLane):
                    self._lane.leave(leaf)
                else:
                    self._finished = True

    def _look_again(self, blocks: int, rows: int) -> None:
        look = self._second_look
        if look is None or self._finished:
            return
        look.take(rows, blocks)
        if look.better is not None:
            raise SwitchError(look.better, look.reason)

    def _pass(self, done: Deleted) -> None:
        """Move behind the slices of a batch that was committed."""
        places = done.left or (None,) * len(self._pieces)
        for piece, (_, skipped), left in zip(self._pieces, done.by_slice, places, strict=True):
            self._note_locked(piece, skipped, left)
            piece.committed(self._run.sweep_pass)
        self._advance(self._pieces[-1])

    def _note_locked(self, piece: Piece, rows: int, places: tuple[Tid, ...] | None = None) -> None:
        self._leftovers.note(piece, rows, places)
        if rows:
            self._run.sweep_pass.stepped_over(piece.leaf)

    def _units(self) -> int:
        return sum(piece.units for piece in self._pieces)

    def _advance(self, piece: Piece) -> None:
        """Move behind a slice that is done.

        Raises:
            RunEndError: It does not end behind where the lane is, by a bug.
        """
        before = self._lane.position
        self._lane.advance(piece)
        self._finished = piece.last
        self._run.turns.moved(self._lane.name, before, self._lane.position)
        self._keep_size()

    def _keep_size(self) -> None:
        """Let the next run begin with what was learned, even if no batch went through."""
        self._run.memory.batch_sizes[self._lane.strategy] = self._size.pace.size

    @property
    def _joined(self) -> bool:
        """Whether the slice at hand was not alone in its batch."""
        return len(self._pieces) > 1

    async def _react(self, error: Exception, rows: int) -> None:
        if is_referenced(error) and await self._learn_references():
            return  # the same slices again, without the rows that are kept
        if self._joined and classify(error) in {Fault.ROW, Fault.LOCK, Fault.FATAL}:
            self._alone = len(self._pieces) + 1  # the slice that is in the way shows itself
        elif isinstance(error, TooManyRowsError):
            self._too_many(rows)
        elif classify(error) is Fault.TIMEOUT and not self._is_one_slow_row():
            await self._smaller("a batch took longer than its time even with one row")
        elif classify(error) is Fault.TIMEOUT:
            await self._bisect(error, rows)
        else:
            await self._react_to_fault(error, classify(error), rows)

    async def _learn_references(self) -> bool:
        """Leave out rows that foreign keys keep, from now on; tell whether that is news."""
        targets = [piece.target for piece in self._pieces]
        try:
            return await self._run.references.learn(await self._session.get(), targets)
        except SERVER_ERRORS:
            return False  # the refused row is looked for, and what ails the server comes again

    def _is_one_slow_row(self) -> bool:
        """Whether a single row was too slow, and not only while the server was."""
        if self._piece is None or self._size.pace.size > 1:
            return False
        self._slow_rows += 1
        return self._slow_rows > 1

    def _too_many(self, rows: int) -> None:
        """Take smaller slices; one value of a table swept as a whole cannot be cut.

        Raises:
            RunEndError: It is such a value.
        """
        run, piece = self._run, self._piece
        if piece is not None and piece.least:
            key = run.row_limits.tightest_limit
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
        elif fault is Fault.ROW and await self._is_of_table():
            raise RunEndError("failed", describe(error)) from error
        elif fault is Fault.ROW:
            await self._bisect(error, rows)
        elif fault is not Fault.FATAL or not self._forget_references():
            await self._react_to_server(error, fault)

    def _forget_references(self) -> bool:
        """Try again without a table that refers, which may be gone or closed by now."""
        return self._run.references.forget(piece.target.table for piece in self._pieces)

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
            await run.waits.wait("retry", self._backoff.next() / 10)
        elif fault in {Fault.THROTTLE, Fault.RETRY}:
            await run.waits.throttle(describe(error), self._backoff.next())
        else:
            raise RunEndError("failed", describe(error)) from error

    async def _react_to_lock(self, error: Exception, rows: int) -> None:
        """First conflict: wait for nobody from now on. A lock on the table itself: others first.

        Raises:
            LeafSetAsideError: It is locked, and there are other leaves.
        """
        if await self._table_is_locked():
            reason = f"table {self._table.quoted} is locked"
            if not self._run.sweep_pass.is_alone:
                raise LeafSetAsideError("throttled", reason, passes=True) from error
            await self._run.waits.throttle(reason, self._backoff.next(), "lock")
        elif self._run.waits.skip_locked:
            await self._bisect(error, rows)
        else:
            self._run.waits.skip_locked = True

    @property
    def leaf(self) -> str:
        """Key in the pass of the leaf at hand."""
        return (self._piece or self._lane).leaf

    @property
    def _table(self) -> Table:
        return (self._piece or self._lane).target.table

    async def _table_is_locked(self) -> bool:
        return await self._fault_of_table() is Fault.LOCK

    async def _fault_of_table(self) -> Fault | None:
        """Return what a DELETE meets that touches no row; None for nothing."""
        try:
            await run_settled(self._run, self._session, self._fence, _Touch(self._table))
        except LaneTakenError:
            raise
        except Exception as error:  # noqa: BLE001 - only its kind is of interest; the rest comes again
            return classify(error)
        return None

    async def _is_of_table(self) -> bool:
        """Whether a statement is refused whatever its slice; a leaf is asked once."""
        if self._table in self._probed:
            return False
        self._probed.add(self._table)
        return await self._fault_of_table() is Fault.ROW

    async def _react_to_taken(self, error: LaneTakenError) -> None:
        """Yield to another instance; wait for a lost connection of this run, which ends by itself.

        Raises:
            RunEndError: Another instance works here.
        """
        holder = await lock_holder(await self._session.get(), self._fence)
        if holder is None or holder.pid not in self._session.lost_pids:
            who = f" ({holder})" if holder is not None else ""
            raise RunEndError("yielded", f"{error}{who}") from error
        reason = f"a lost connection of this run has not ended yet ({holder})"
        await self._run.waits.throttle(reason, self._backoff.next(), "lock")

    async def _smaller(self, reason: str) -> None:
        if self._size.pace.size > 1:
            at_hand = self._piece.units if self._piece else 0
            self._size.pace.halve(max(self._units(), at_hand) or None)
            self._keep_size()
        else:
            await self._run.waits.throttle(reason, self._backoff.next())

    async def _bisect(self, error: Exception, rows: int) -> None:
        """Find the rows that the database refuses, step over them, delete the others.

        Raises:
            RunEndError: The error is no row's: without a slice there is nothing to halve.
        """
        piece = self._piece
        if piece is None:
            raise RunEndError("failed", describe(error)) from error
        if not self._lane.has_places:
            self._step_over(piece, error)
            return
        bisection = Bisection(self._run, piece.target, self._session, self._fence)
        try:
            locked = await bisection.delete(piece.part, self._lane.name, rows)
        except RunEndError:
            raise
        except Exception as failed:  # noqa: BLE001 - classified like any batch's
            await self._react_to_bisection(failed)
        else:
            if locked is not None:
                self._pass_by(piece, locked)

    def _step_over(self, piece: Piece, error: Exception) -> None:
        """Step over the smallest slice there is, where no row can be told from another."""
        if self._size.pace.size > 1:
            self._size.pace.halve()
            self._keep_size()
            return
        is_locked = classify(error) is Fault.LOCK
        if not is_locked:
            self._run.rows_refused(piece.target.table, 1, describe(error))
        self._pass_by(piece, 1 if is_locked else 0)

    async def _react_to_bisection(self, error: Exception) -> None:
        """React to what ended a bisection; the slice is tried again, but never from in here.

        Raises:
            RunEndError: Nothing can be changed about it.
        """
        fault = classify(error)
        if fault is Fault.TIMEOUT:
            await self._smaller("a batch took longer than its time even with one row")
        elif fault is Fault.LOCK:
            await self._run.waits.throttle(describe(error), self._backoff.next(), "lock")
        elif fault is Fault.ROW:
            raise RunEndError("failed", describe(error)) from error
        else:
            await self._react_to_server(error, fault)

    async def _after_loss(self, what: str) -> None:
        """Try again at once after a first loss; wait after each further one."""
        self._retries += 1
        if self._retries > 1:
            await self._run.waits.throttle(f"{what} is lost again and again", self._backoff.next())
