"""One batch: BEGIN, fence, DELETE, COMMIT, within a time in which nobody deadlocks on us."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final

from sweeperd.postgres.sql import rows as sql
from sweeperd.postgres.sql.rows import Slice, Target, Tids
from sweeperd.postgres.transaction import (
    Connection,
    Frame,
    abort,
    commit,
    fetch,
    fetchval,
    major_version,
    try_fence,
)
from sweeperd.sweep.archive.base import Archive

# A batch's whole time stays below half of deadlock_timeout, so that a client deadlocked with
# us finds its lock free before its own check makes it the victim.
_DEADLOCK_SHARE: Final = 0.5
_STATEMENT_SHARE: Final = 0.75
_BATCH_SHARE: Final = 0.9
_LEAST_STATEMENT_MS: Final = 5


class FenceTakenError(Exception):
    """Another instance works in this lane at this moment."""


class BatchTimeoutError(Exception):
    """A batch took longer than its time; it was rolled back."""


class TooManyRowsError(Exception):
    """A slice held more rows than the batch may delete; it was rolled back."""


@dataclass(frozen=True)
class Deleted:
    """What a committed batch did.

    Attributes:
        rows: Rows deleted.
        skipped: Expired rows of the slice that others had locked.
        seconds: From BEGIN to the answer to COMMIT.
        cancelled: A cancellation came while COMMIT was under way; raise it after counting.
        xid: The transaction's id, if it wrote.
    """

    rows: int
    skipped: int
    seconds: float
    cancelled: bool
    xid: int | None = None


@dataclass(frozen=True)
class BatchLimits:
    """What bounds a batch in time.

    Attributes:
        frame: What the transaction sets.
        seconds: From BEGIN to before COMMIT; locks are held no longer.
    """

    frame: Frame
    seconds: float

    @classmethod
    def of(cls, application_name: str, lock_timeout: float, deadlock_seconds: float) -> BatchLimits:
        """Derive the limits from the server's deadlock_timeout, seconds."""
        whole = deadlock_seconds * _DEADLOCK_SHARE
        statement = max(int(whole * _STATEMENT_SHARE * 1000), _LEAST_STATEMENT_MS)
        lock = max(min(int(lock_timeout * 1000), statement), 1)
        return cls(Frame(application_name, lock, statement), whole * _BATCH_SHARE)

    @property
    def statement_seconds(self) -> float:
        """The longest statement, seconds."""
        return self.frame.statement_timeout_ms / 1000

    def synchronous(self) -> BatchLimits:
        """Return the same, with a COMMIT that waits for standbys."""
        return replace(self, frame=replace(self.frame, synchronous=True))


Work = Callable[[Connection], Awaitable[tuple[int, int]]]
Finish = Callable[[Connection], Awaitable[str | None]]


async def run_batch(
    connection: Connection, limits: BatchLimits, fence: int, work: Work, finish: Finish
) -> Deleted:
    """Run ``work`` as one batch and return what it did.

    ``work`` returns rows deleted and rows skipped; ``finish`` is what comes last before COMMIT and
    returns the transaction's id, if it wrote. Any error rolls back.

    Raises:
        FenceTakenError: The lane is taken.
        CommitUnknownError: The answer to COMMIT was lost.
        BatchTimeoutError: The batch took longer than its time.
    """
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await connection.execute(limits.frame.begin(major_version(connection)))
    try:
        (rows, skipped), xid = await _bounded(connection, limits, fence, (work, finish))
        done = await commit(connection, xid)
    except BaseException:
        await abort(connection)
        raise
    return Deleted(rows, skipped, loop.time() - begun, done.cancelled, done.xid)


async def _bounded(
    connection: Connection, limits: BatchLimits, fence: int, steps: tuple[Work, Finish]
) -> tuple[tuple[int, int], str | None]:
    work, finish = steps
    bound = asyncio.timeout(limits.seconds)
    try:
        async with bound:
            if not await try_fence(connection, fence):
                raise FenceTakenError
            return await work(connection), await finish(connection)
    except TimeoutError as error:
        if bound.expired():
            raise BatchTimeoutError from error
        raise


async def delete_slice(
    connection: Connection,
    target: Target,
    part: Slice,
    *,
    limit: int,
    skip_locked: bool,
    archive: Archive,
) -> tuple[int, int]:
    """Delete a slice's expired rows; return rows deleted and rows that others had locked.

    Raises:
        TooManyRowsError: More than ``limit`` rows went; the caller rolls back.
    """
    if target.two_steps:
        places = [row[0] for row in await fetch(connection, sql.lock_rows(target, part))]
        if len(places) > limit:
            raise TooManyRowsError
        statement = sql.delete(target, Tids(tuple(places)))
    elif skip_locked:
        statement = sql.delete_skip_locked(target, part)
    else:
        statement = sql.delete(target, part)
    rows = await archive.delete(connection, statement, target.table.reference)
    if rows > limit:
        raise TooManyRowsError
    skipped = 0
    if target.two_steps or skip_locked:
        skipped = await fetchval(connection, sql.count(target, part, limit=limit))
    return rows, skipped
