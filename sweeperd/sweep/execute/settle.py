"""One way to run a batch and to learn its fate, whatever becomes of the answer to its COMMIT."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from sweeperd.postgres.transaction import settle
from sweeperd.sweep.archive.base import ManyRowsError, TooLarge
from sweeperd.sweep.execute.batch import (
    BatchLostError,
    CommitLostError,
    Deleted,
    FateUnknownError,
    TooManyRowsError,
    Work,
)
from sweeperd.sweep.execute.context import RunContext
from sweeperd.sweep.execute.deletion import Deletion
from sweeperd.sweep.execute.session import Session
from sweeperd.sweep.outcome.report import RunEndError

# For a run whose time is over: a stop must end within 10 s.
_MOST_SECONDS: Final = 5.0
_UNKNOWN: Final = (
    "the answer to one COMMIT was lost and its fate is not known: deleted_count may be one batch "
    "too low"
)


async def run_settled(run: RunContext, session: Session, lane: int, work: Work) -> Deleted:
    """Run a batch; where the answer to COMMIT is lost, ask the server what became of it.

    Raises:
        BatchLostError: It did not commit; or nobody can tell, and the report says so.
        Exception: As `run_batch`.
    """
    try:
        return await _run(run, session, lane, work)
    except FateUnknownError as error:
        raise _end(error) from error


def _end(error: FateUnknownError) -> BaseException:
    """Return what ends a run whose last batch nobody knows the fate of."""
    if error.cancelled:
        return asyncio.CancelledError()
    return error.__cause__ if isinstance(error.__cause__, RunEndError) else error


async def _run(run: RunContext, session: Session, lane: int, work: Work) -> Deleted:
    try:
        return await run.batch(await session.get(), lane, work)
    except CommitLostError as lost:
        try:
            committed = await _fate(run, session, lost)
        except BaseException as error:  # whatever it is, the rows may be gone
            run.report.warn(_UNKNOWN)
            cancelled = lost.deleted.cancelled or isinstance(error, asyncio.CancelledError)
            raise FateUnknownError(str(lost), cancelled=cancelled) from error
        if committed:
            return lost.deleted
        if committed is None:
            run.report.warn(_UNKNOWN)
            raise FateUnknownError(str(lost), cancelled=lost.deleted.cancelled) from lost
        if lost.deleted.cancelled:
            raise asyncio.CancelledError from lost
        raise BatchLostError(str(lost)) from lost


async def delete_settled(
    run: RunContext,
    session: Session,
    lane: int,
    deletion: Deletion,
    work: Callable[[Deletion], Work] = lambda deletion: deletion,
) -> Deleted:
    """Let the run's archive keep what a batch is to delete, then run that batch.

    Args:
        run: The run.
        session: The lane's connection.
        lane: Key of the lane's advisory lock.
        deletion: What is to be deleted.
        work: Returns what the batch does with what was kept of it.

    Raises:
        TooManyRowsError: There are more rows than the batch may delete.
        Exception: As `run_settled`.
    """
    frame = run.limits.frame
    connection = await session.get()
    try:
        kept = await run.archive.keep(connection, frame, deletion.slices, deletion.limit)
    except ManyRowsError as error:
        raise TooManyRowsError from error
    try:
        done = await _run(run, session, lane, work(replace(deletion, slices=kept.slices)))
    except FateUnknownError as error:  # the rows may be gone: what was kept of them stays
        raise _end(error) from error
    except BaseException:
        await kept.give_up()
        raise
    settling = asyncio.ensure_future(kept.settle(done.stayed))
    if await settle(settling):  # it is counted first
        done = replace(done, cancelled=True)
    trouble = settling.result()
    if trouble is not None:
        run.report.warn(f"rows that stayed in the table are in the archive, too: {trouble}")
    for row in kept.too_large:
        _refuse(run, row)
    return done


def _refuse(run: RunContext, row: TooLarge) -> None:
    """Tell that a row is too large for a file archive; it stays."""
    reason = f"its line has {row.size >> 20} MB, more than a file archive takes"
    run.refuse_row(row.target.table, f"ctid=({row.tid[0]},{row.tid[1]})", reason)


async def _fate(run: RunContext, session: Session, lost: CommitLostError) -> bool | None:
    """Ask, although the run may have been cancelled; None when nobody can tell."""
    if lost.proof is None:
        await session.drop()
        return False
    if not lost.deleted.cancelled:
        return await session.was_committed(lost.proof, run)
    asking = asyncio.ensure_future(
        asyncio.wait_for(session.was_committed(lost.proof, run), _MOST_SECONDS)
    )
    await settle(asking)
    return None if asking.exception() is not None else asking.result()
