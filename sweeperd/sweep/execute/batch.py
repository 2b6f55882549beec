"""One batch: three messages, within a time in which nobody deadlocks on us."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final, Protocol

import asyncpg

from sweeperd.config.models import SweepConfig
from sweeperd.postgres.catalog import Server
from sweeperd.postgres.proof import Proof, read_proof
from sweeperd.postgres.sql import batch as sql
from sweeperd.postgres.sql.slices import Tid
from sweeperd.postgres.sql.target import Table
from sweeperd.postgres.transaction import (
    CommitUnknownError,
    Connection,
    Frame,
    abort,
    commit,
    major_version,
)
from sweeperd.sweep.execute.loop_lag import LoopLag
from sweeperd.sweep.outcome.report import RunEndError
from sweeperd.sweep.survey.identity import Identity

# Without the right to set our own deadlock_timeout, a batch's statements stay below half of the
# clients', so that a client deadlocked with us finds its lock free before its own check makes it
# the victim. With it our check comes first, but is made once in a wait: a wait stays below, too.
_DEADLOCK_SHARE: Final = 0.375
_LONGEST_STATEMENT: Final = 0.499  # seconds
_OWN_DEADLOCK_TIMEOUT_MS: Final = 1
_FREE_STATEMENT: Final = 10  # times batch_target
# Below these a wait for rows is not safe: what a timer takes is no longer small.
_LEAST_DEADLOCK_SECONDS: Final = 0.04
_LEAST_DEADLOCK_SECONDS_WITH_OURS: Final = 0.01
_LEAST_SHARED_STATEMENT_MS: Final = 15  # of what waits for no row from the start
_LEAST_STATEMENT_MS: Final = 5
_SHORT_MS: Final = 5  # for a lock, once the run has met a conflict
# If this process is stopped between two messages, the locks go after this time.
_IDLE_MS: Final = 1_000
_LEAST_COST_SECONDS: Final = 0.0005
_BLOCKED: Final = "COMMIT waited for a lock longer than 1 s: other sessions commit a NOTIFY"
# How long an answer may be under way beyond the statement's own bound, seconds.
_ANSWER_SECONDS: Final = 5.0


class LaneTakenError(RunEndError):
    """Another instance works in this lane at this moment."""

    def __init__(self) -> None:
        super().__init__("yielded", "another instance sweeps here")


class TooManyRowsError(Exception):
    """A slice held more rows than the batch may delete; it was rolled back."""


@dataclass(frozen=True)
class Deleted:
    """What a committed batch did.

    Attributes:
        rows: Rows deleted.
        skipped: Expired rows of the slices that are there all the same: others had locked them.
        seconds: From BEGIN to the answer to COMMIT.
        commit_seconds: The part of them that COMMIT took.
        cost_seconds: The same without round trips; None where our own loop stalled meanwhile.
        cancelled: A cancellation came while COMMIT was under way; raise it after counting.
        xid: The transaction's id, if it wrote.
        by_slice: Rows deleted and skipped in each slice, in the order of the batch.
        stayed: Which of the rows that a file archive has stayed, by slice, counted from 1.
        left: Places of the skipped rows, by slice; None where they are many.
    """

    rows: int
    skipped: int
    seconds: float
    cancelled: bool
    xid: int | None = None
    by_slice: tuple[tuple[int, int], ...] = ()
    stayed: tuple[tuple[int, ...], ...] = ()
    left: tuple[tuple[Tid, ...] | None, ...] = ()
    cost_seconds: float | None = None
    commit_seconds: float = 0.0


class CommitBlockedError(asyncpg.ObjectInUseError):  # type: ignore[misc,unused-ignore]
    """COMMIT waited too long for a lock; the batch was rolled back, and no row was at fault."""


class CommitLostError(Exception):
    """The answer to a batch's COMMIT was lost.

    Attributes:
        proof: What was read last in the transaction; None when it certainly did not commit.
        deleted: What the batch did if it was committed.
    """

    def __init__(self, lost: CommitUnknownError, deleted: Deleted) -> None:
        super().__init__(str(lost))
        self.proof = lost.proof
        self.deleted = deleted


class BatchLostError(ConnectionError):
    """The answer to a batch's COMMIT was lost, and it did not commit or nobody knows."""


class FateUnknownError(BatchLostError):
    """The answer to a batch's COMMIT was lost, and nobody knows whether it was committed.

    Attributes:
        cancelled: A cancellation came meanwhile; raise it after accounting.
    """

    def __init__(self, reason: str, *, cancelled: bool) -> None:
        super().__init__(reason)
        self.cancelled = cancelled


@dataclass(frozen=True)
class BatchLimits:
    """What bounds a batch in time.

    Attributes:
        frame: What the transaction sets.
        skip_locked_from_start: Whether no row is ever waited for, since clients look for deadlocks
            too soon.
    """

    frame: Frame
    skip_locked_from_start: bool = False

    @classmethod
    def of(cls, application_name: str, sweep: SweepConfig, server: Server) -> BatchLimits:
        """Derive the limits from the clients' deadlock_timeout and our right to set ours."""
        clients = server.deadlock_seconds
        least = _LEAST_DEADLOCK_SECONDS
        wait = min(clients * _DEADLOCK_SHARE, _LONGEST_STATEMENT)
        longest = max(wait, _LEAST_SHARED_STATEMENT_MS / 1000)
        if server.may_set_deadlock_timeout:
            least = _LEAST_DEADLOCK_SECONDS_WITH_OURS
            longest = sweep.batch_target.total_seconds() * _FREE_STATEMENT
        if sweep.max_statement is not None:
            longest = sweep.max_statement.total_seconds()
        statement = max(int(longest * 1000), _LEAST_STATEMENT_MS)
        lock = max(min(int(min(sweep.lock_timeout.total_seconds(), wait) * 1000), statement), 1)
        frame = Frame(
            application_name,
            lock,
            statement,
            idle_timeout_ms=_IDLE_MS,
            transaction_timeout_ms=statement + _IDLE_MS,
            deadlock_timeout_ms=_OWN_DEADLOCK_TIMEOUT_MS
            if server.may_set_deadlock_timeout
            else None,
        )
        return cls(frame, skip_locked_from_start=clients < least)

    @property
    def statement_seconds(self) -> float:
        """The longest statement, seconds."""
        return self.frame.statement_timeout_ms / 1000

    @property
    def answer_seconds(self) -> float:
        """How long an answer may take before the connection counts as lost, seconds."""
        return self.statement_seconds + _ANSWER_SECONDS

    def synchronous(self) -> BatchLimits:
        """Return the same, with a COMMIT that waits for standbys."""
        return replace(self, frame=replace(self.frame, synchronous=True))

    def opening(self, server_major: int, lane: int, work: Work, columns: tuple[str, ...]) -> str:
        """Return what a batch's first message begins with.

        Its statements share their time: locks that one took are held while the next waits.
        """
        statements = max(work.locking_statements, 1)
        frame = self.frame
        most = max(frame.statement_timeout_ms // statements, _LEAST_STATEMENT_MS)
        lock = frame.lock_timeout_ms if work.is_patient else min(frame.lock_timeout_ms, _SHORT_MS)
        frame = replace(frame, statement_timeout_ms=most, lock_timeout_ms=lock)
        begin = frame.begin(server_major, sql.subject(work.tables, columns))
        return f"{begin}; {sql.lock_lane(lane)}; {sql.CHECK_AT_ONCE}"


class Work(Protocol):
    """What a batch does between its BEGIN and its proof."""

    @property
    def tables(self) -> tuple[Table, ...]:
        """The tables that it deletes from: their identity is proved."""

    @property
    def locking_statements(self) -> int:
        """Statements that may wait for a lock while others hold theirs."""

    async def do(self, connection: Connection, opening: str) -> int | None:
        """Send the opening and the statements behind it, in as few messages as may be.

        Returns:
            The rows that a plain DELETE took; None when the statements noted their counts.
        """

    @property
    def is_patient(self) -> bool:
        """Whether it may wait for the whole of lock_timeout; else next to nothing."""

    def judge(self, answer: int | None, proof: Proof) -> tuple[tuple[int, int], ...]:
        """Return rows deleted and skipped by slice; raise to roll back."""


class DeletesNothing:
    """The rest of a work that deletes no row: it waits for a lock once, and has no identity."""

    tables: tuple[Table, ...] = ()
    locking_statements = 1
    is_patient = True

    def judge(self, answer: int | None, proof: Proof) -> tuple[tuple[int, int], ...]:  # noqa: ARG002 - Work's
        """Count nothing."""
        return ()


async def run_batch(
    connection: Connection, limits: BatchLimits, lane: int, work: Work, identity: Identity
) -> Deleted:
    """Run ``work`` as one batch and return what it did. Any error rolls back.

    Raises:
        LaneTakenError: Another instance works in the lane.
        RunEndError: A table is not what it was.
        CommitLostError: The answer to COMMIT was lost.
        asyncpg.PostgresError: The server refused.
    """
    clock = _BatchClock()
    columns = identity.columns or ()
    opening = limits.opening(major_version(connection), lane, work, columns)
    try:
        with LoopLag() as lag:
            async with asyncio.timeout(limits.answer_seconds):
                answer = await _first(connection, work, opening)
            clock.answered()
            async with asyncio.timeout(limits.answer_seconds):
                proof = await read_proof(connection, sql.PROOF)
            clock.answered()
            by_slice = work.judge(answer, proof)
            identity.require(proof, work.tables)
            done = _done(proof, by_slice)
            cancelled = await _commit(connection, proof, done, clock)
    except BaseException:
        await abort(connection)
        raise
    return replace(
        done,
        seconds=clock.seconds,
        cancelled=cancelled,
        cost_seconds=None if lag.has_stalled else clock.cost_seconds,
        commit_seconds=clock.seconds_since_answer,
    )


class _BatchClock:
    """Times the messages of a batch."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._times = [self._loop.time()]

    def answered(self) -> None:
        """Take that a message was answered."""
        self._times.append(self._loop.time())

    @property
    def seconds(self) -> float:
        """From the first message to now."""
        return self._loop.time() - self._times[0]

    @property
    def seconds_since_answer(self) -> float:
        """From the last answer that was noted to now."""
        return self._loop.time() - self._times[-1]

    @property
    def cost_seconds(self) -> float:
        """What the first and the last message took beyond the second, which is next to nothing."""
        first, proof, last = (
            after - before for before, after in pairwise([*self._times, self._loop.time()])
        )
        return max(first - proof, 0.0) + max(last - proof, 0.0) + _LEAST_COST_SECONDS


def _done(proof: Proof, by_slice: tuple[tuple[int, int], ...]) -> Deleted:
    return Deleted(
        sum(rows for rows, _ in by_slice),
        sum(left for _, left in by_slice),
        0.0,
        cancelled=False,
        xid=int(proof.xid) if proof.xid else None,
        by_slice=by_slice,
        stayed=proof.stayed,
        left=proof.left,
    )


async def _commit(connection: Connection, proof: Proof, done: Deleted, clock: _BatchClock) -> bool:
    """Commit; tell whether a cancellation came meanwhile."""
    try:
        return await commit(connection, proof)
    except CommitUnknownError as lost:
        done = replace(done, seconds=clock.seconds, cancelled=lost.cancelled)
        raise CommitLostError(lost, done) from lost
    except (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError) as error:
        raise CommitBlockedError(_BLOCKED) from error


async def _first(connection: Connection, work: Work, opening: str) -> int | None:
    try:
        return await work.do(connection, opening)
    except asyncpg.InvalidTextRepresentationError as error:
        if sql.LANE_TAKEN in str(error):
            raise LaneTakenError from error
        raise
