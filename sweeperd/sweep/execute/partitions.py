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
from sweeperd.postgres.sql.rows import Table
from sweeperd.postgres.sqlstate import SERVER_ERRORS, Fault, classify, describe
from sweeperd.postgres.transaction import Connection, fence_key, fetchval, reading
from sweeperd.sweep.execute.backoff import Backoff
from sweeperd.sweep.execute.batch import BatchLostError, DeletesNothing
from sweeperd.sweep.execute.context import RunContext
from sweeperd.sweep.execute.session import Session
from sweeperd.sweep.execute.settle import run_settled
from sweeperd.sweep.outcome.report import RunEndError

# one literal each; several key columns, MINVALUE and MAXVALUE do not match
_BOUND: Final = re.compile(r"FOR VALUES FROM \(('(?:[^']|'')*'|-?[\d.]+)\) TO \((.*)\)")
_LITERAL: Final = re.compile(r"'(?:[^']|'')*'|-?[\d.]+")
_TRIES: Final = 3
_RETRIED: Final = frozenset({Fault.LOCK, Fault.TIMEOUT, Fault.RETRY, Fault.LOST})


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

    Raises:
        RunEndError: Its name means another table, or its bounds are others.
    """
    await connection.execute(sql_catalog.EXACT_LITERALS)
    await connection.execute(sql_partition.lock(one.parent, one.leaf).text)
    if not await fetchval(
        connection, sql_partition.same_leaf(one.leaf, one.oid, one.bound, one.above)
    ):
        raise RunEndError(
            "throttled",
            f"partition {one.leaf.quoted} was made anew, or moved to another table, while the run "
            "was under way",
        )
    gone = sql_partition.drop(one.leaf)
    statement = gone if drop else sql_partition.detach(one.parent, one.leaf)
    await connection.execute(statement.text)


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
        """Finalise detaches that somebody began; their rows are invisible meanwhile."""
        connection = await self._session.get()
        async with reading(connection):
            rows = await connection.fetch(sql_catalog.PENDING_DETACHES, self._root.oid)
        for row in rows:
            parent = Table(row["parent_schema"], row["parent"])
            leaf = Table(row["schema"], row["name"])
            finalize = sql_partition.detach(parent, leaf, finalize=True).text
            await self._do(leaf, partial(_run, text=finalize))
            self._tell(PartitionDetached, leaf, "its detach was pending")

    async def remove(self, past: list[Past]) -> None:
        """Remove each leaf.

        Raises:
            SweepError: This role does not own one.
            RunEndError: A lock or the server stands in the way.
        """
        for one in past:
            if not one.owned:
                name = f"{quote_if_needed(one.leaf.schema)}.{quote_if_needed(one.leaf.name)}"
                raise SweepError(
                    f'partitions = "{self._run.sweep.partitions}" needs the owner of {name} and of '
                    "its parent",
                    cure=f"GRANT the owner's role to {self._run.server.role}, or partitions = "
                    '"delete"',
                )
        for one in past:
            await self._run.waits.gate()
            await self._do(one.leaf, partial(take_out, one=one, drop=self._drop))
            self._tell(
                PartitionDropped if self._drop else PartitionDetached,
                one.leaf,
                f"{one.bound} lies below the cutoff",
            )

    async def _do(self, leaf: Table, change: Callable[[Connection], Awaitable[object]]) -> None:
        backoff, lost = Backoff(), False
        work = _Change(change)
        for last in (False,) * (_TRIES - 1) + (True,):
            try:
                done = await run_settled(self._run, self._session, self._fence, work)
            except (*SERVER_ERRORS, BatchLostError) as error:
                if lost and isinstance(error, asyncpg.UndefinedTableError):
                    return  # the COMMIT whose answer was lost went through
                if classify(error) not in _RETRIED:
                    raise
                lost = isinstance(error, BatchLostError)
                if last:
                    raise RunEndError("throttled", f"{leaf.quoted}: {describe(error)}") from error
                await self._run.waits.throttle(
                    f"{leaf.quoted}: {describe(error)}", backoff.next(), "lock"
                )
            else:
                if done.cancelled:
                    raise asyncio.CancelledError
                return

    def _tell(
        self, event: type[PartitionDetached | PartitionDropped], leaf: Table, reason: str
    ) -> None:
        self._run.report.partitions.append(f"{leaf.schema}.{leaf.name}")
        self._run.listener(event(self._run.sweep.name, leaf.quoted, reason))
