"""Partitions that lie wholly below the cutoff: detached or dropped, as a whole."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import asyncpg

from sweeperd.errors import SweepError
from sweeperd.log.run_events import PartitionDetached, PartitionDropped
from sweeperd.postgres.catalog import Relation, quote_if_needed
from sweeperd.postgres.sql import catalog as sql_catalog
from sweeperd.postgres.sql import partitions as sql_partition
from sweeperd.postgres.sql.expired import Expired
from sweeperd.postgres.sql.target import Table
from sweeperd.postgres.sqlstate import SERVER_ERRORS, Fault, classify, describe
from sweeperd.postgres.transaction import Connection, fence_key, fetchval, reading
from sweeperd.sweep.execute.backoff import Backoff
from sweeperd.sweep.execute.batch import BatchLostError, DeletesNothing
from sweeperd.sweep.execute.context import RunContext
from sweeperd.sweep.execute.session import Session
from sweeperd.sweep.execute.settle import run_settled
from sweeperd.sweep.outcome.report import LeafSetAsideError, Outcome, RunEndError

# one literal each; several key columns, MINVALUE and MAXVALUE do not match
_BOUND: Final = re.compile(r"FOR VALUES FROM \(('(?:[^']|'')*'|-?[\d.]+)\) TO \((.*)\)")
_LITERAL: Final = re.compile(r"'(?:[^']|'')*'|-?[\d.]+")
_TRIES: Final = 3
_PASSING: Final = frozenset({Fault.LOCK, Fault.TIMEOUT})
# What depends on a leaf (2BP01) or refers to it (23503) is in the way of that one only.
_OF_THE_LEAF: Final = _PASSING | {Fault.ROW, Fault.FATAL}


@dataclass(frozen=True)
class Past:
    """A leaf that is wholly past.

    Attributes:
        oid: Its OID.
        leaf: The leaf.
        parent: What it is a partition of.
        bound: Its bounds, as the catalogue writes them.
        owned: Whether this role owns leaf and parent.
        above: What it belongs to, by OID.
    """

    oid: int
    leaf: Table
    parent: Table
    bound: str
    owned: bool
    above: sql_partition.Above

    @property
    def shown(self) -> str:
        """The leaf for messages."""
        return f"{quote_if_needed(self.leaf.schema)}.{quote_if_needed(self.leaf.name)}"


async def find_past(connection: Connection, root: Relation, expired: Expired) -> list[Past]:
    """Return the leaves whose bounds say that every row in them is expired.

    Only RANGE partitions by the sweep's column alone can say so; a lower bound of MINVALUE
    could hide values that never expire.
    """
    if expired.text is not None:
        return []
    found = []
    async with reading(connection):
        await connection.execute(sql_catalog.EXACT_LITERALS)
        for row in await connection.fetch(sql_catalog.PARTITIONS, root.oid):
            bound = _bound(row, expired.column)
            if bound and await fetchval(connection, sql_partition.wholly_expired(expired, *bound)):
                found.append(
                    Past(
                        row["oid"],
                        Table(row["schema"], row["name"]),
                        Table(row["parent_schema"], row["parent"]),
                        row["bound"],
                        row["owned"],
                        sql_partition.Above(root.oid, row["parent_oid"], row["key"]),
                    )
                )
    return found


def _bound(row: asyncpg.Record, column: str) -> tuple[str, str] | None:
    if row["strategy"] != "r" or row["keys"] != 1 or row["key"] != column:
        return None
    match = _BOUND.fullmatch(row["bound"] or "")
    if match is None or _LITERAL.fullmatch(match[2]) is None:
        return None
    low, high = (_plain(literal) for literal in match.groups())
    return low, high


def _plain(literal: str) -> str:
    return literal[1:-1].replace("''", "'") if literal.startswith("'") else literal


async def take_out(connection: Connection, one: Past, *, drop: bool) -> None:
    """Detach or drop one leaf, if it still is what was found to be past.

    It is detached before it is dropped: a foreign key that refers to the partitioned table depends
    on each partition, and looks only at the detach whether it is in use.

    Raises:
        LeafSetAsideError: Its name means another table, or its bounds are others.
    """
    await connection.execute(sql_catalog.EXACT_LITERALS)
    await connection.execute(sql_partition.lock(one.parent, one.leaf).text)
    if not await fetchval(
        connection, sql_partition.same_leaf(one.leaf, one.oid, one.bound, one.above)
    ):
        raise LeafSetAsideError(
            "throttled",
            f"partition {one.leaf.quoted} was made anew, or moved to another table, while the run "
            "was under way",
        )
    await connection.execute(sql_partition.detach(one.parent, one.leaf).text)
    if drop:
        await connection.execute(sql_partition.drop(one.leaf).text)


async def _run(connection: Connection, *, text: str) -> None:
    await connection.execute(text)


@dataclass(frozen=True)
class _Change(DeletesNothing):
    """A change of the catalogue as a batch's work."""

    change: Callable[[Connection], Awaitable[object]]

    async def do(self, connection: Connection, opening: str) -> int | None:
        await connection.execute(opening)
        await self.change(connection)
        return None


class Partitions:
    """Detaches or drops what is past, one leaf a transaction.

    Args:
        run: The run.
        session: A connection of the run.
        root: The partitioned table.
        drop: Drop instead of detach.
    """

    def __init__(self, run: RunContext, session: Session, root: Relation, *, drop: bool) -> None:
        self._run = run
        self._session = session
        self._root = root
        self._drop = drop
        self._fence = fence_key(run.server.database, run.table, run.sweep.name, "partitions")

    async def finish_pending(self) -> None:
        """Finalise detaches that somebody began; their rows are invisible meanwhile.

        One that cannot be finalised now is named, and the others go on.
        """
        connection = await self._session.get()
        async with reading(connection):
            rows = await connection.fetch(sql_catalog.PENDING_DETACHES, self._root.oid)
        for row in rows:
            parent = Table(row["parent_schema"], row["parent"])
            leaf = Table(row["schema"], row["name"])
            finalize = sql_partition.detach(parent, leaf, finalize=True).text
            try:
                await self._do(leaf, partial(_run, text=finalize))
            except LeafSetAsideError as end:
                self._run.set_aside(leaf.quoted, leaf.quoted, end)
            else:
                self._tell(PartitionDetached, leaf, "its detach was pending")

    async def remove(self, past: list[Past]) -> set[int]:
        """Remove each leaf; one that cannot go is set aside, and the others go on.

        A lock is tried again when all others were tried.

        Returns:
            The OIDs of those that are gone.

        Raises:
            SweepError: This role does not own one.
            RunEndError: The server stands in the way.
        """
        for one in past:
            if not one.owned:
                raise SweepError(
                    f'partitions = "{self._run.sweep.partitions}" needs the owner of {one.shown} '
                    "and of its parent",
                    cure=f"GRANT the owner's role to {self._run.server.role}, or partitions = "
                    '"delete"',
                )
        gone: set[int] = set()
        locked = past
        backoff = Backoff()
        for last in (False,) * (_TRIES - 1) + (True,):
            todo, locked = locked, []
            for one in todo:
                end = await self._take_out(one)
                if end is None:
                    gone.add(one.oid)
                elif end.passes and not last:
                    locked.append(one)
                    reason = end.reason
                else:
                    self._run.set_aside(str(one.oid), one.shown, end)
            if not locked:
                break
            await self._run.waits.throttle(reason, backoff.next(), "lock")
        return gone

    async def _take_out(self, one: Past) -> LeafSetAsideError | None:
        """Remove one leaf; return what keeps it."""
        await self._run.waits.gate()
        try:
            await self._do(one.leaf, partial(take_out, one=one, drop=self._drop))
        except LeafSetAsideError as end:
            return end
        self._tell(
            PartitionDropped if self._drop else PartitionDetached,
            one.leaf,
            f"{one.bound} lies below the cutoff",
        )
        return None

    async def _do(self, leaf: Table, change: Callable[[Connection], Awaitable[object]]) -> None:
        """Change the catalogue in a transaction of its own.

        Raises:
            LeafSetAsideError: The leaf is in the way.
            RunEndError: The server is.
        """
        backoff, lost = Backoff(), False
        work = _Change(change)
        for last in (False,) * (_TRIES - 1) + (True,):
            try:
                done = await run_settled(self._run, self._session, self._fence, work)
            except (*SERVER_ERRORS, BatchLostError) as error:
                if lost and isinstance(error, asyncpg.UndefinedTableError):
                    return  # the COMMIT whose answer was lost went through
                fault, reason = classify(error), f"{leaf.quoted}: {describe(error)}"
                if fault in _OF_THE_LEAF:
                    passes = fault in _PASSING
                    outcome: Outcome = "throttled" if passes else "failed"
                    raise LeafSetAsideError(outcome, reason, passes=passes) from error
                lost = isinstance(error, BatchLostError)
                if last:
                    raise RunEndError("throttled", reason) from error
                await self._run.waits.throttle(reason, backoff.next(), "lock")
            else:
                if done.cancelled:
                    raise asyncio.CancelledError
                return

    def _tell(
        self, event: type[PartitionDetached | PartitionDropped], leaf: Table, reason: str
    ) -> None:
        self._run.report.partitions.append(f"{leaf.schema}.{leaf.name}")
        self._run.listener(event(self._run.sweep.name, leaf.quoted, reason))
