"""One way to run a batch and to learn its fate, whatever becomes of the answer to its COMMIT."""

from __future__ import annotations

import asyncio
from typing import Final

from sweeperd.postgres.transaction import settle
from sweeperd.sweep.execute.batch import BatchLostError, CommitLostError, Deleted, Work
from sweeperd.sweep.execute.context import RunContext
from sweeperd.sweep.execute.session import Session

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
        return await run.batch(await session.get(), lane, work)
    except CommitLostError as lost:
        committed = await _fate(run, session, lost)
        if committed is None:
            run.report.warn(_UNKNOWN)
        if committed:
            return lost.deleted
        if lost.deleted.cancelled:
            raise asyncio.CancelledError from lost
        raise BatchLostError(str(lost)) from lost


async def _fate(run: RunContext, session: Session, lost: CommitLostError) -> bool | None:
    """Ask, although the run may have been cancelled; None when nobody can tell."""
    if lost.proof is None or lost.proof.xid is None:
        await session.drop()
        return False
    if not lost.deleted.cancelled:
        return await session.was_committed(lost.proof, run)
    asking = asyncio.ensure_future(
        asyncio.wait_for(session.was_committed(lost.proof, run), _MOST_SECONDS)
    )
    await settle(asking)
    return None if asking.exception() is not None else asking.result()
