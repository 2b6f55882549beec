"""A lane's connection: lost, it is made again with backoff, on the same system only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Final, Self

from sweeperd.errors import EXIT_UNAVAILABLE, DatabaseUnreachableError
from sweeperd.log.daemon_events import DatabaseBack, DatabaseLost
from sweeperd.log.event import Listener
from sweeperd.log.events import SweepWaits
from sweeperd.log.run_events import Waited
from sweeperd.postgres.catalog import read_server
from sweeperd.postgres.catalog_reads import CatalogReads
from sweeperd.postgres.connect import Database, close
from sweeperd.postgres.proof import Proof
from sweeperd.postgres.sqlstate import LOST_ERRORS
from sweeperd.postgres.transaction import (
    Connection,
    read_epoch,
    reading,
    transaction_status,
)
from sweeperd.sweep.execute.backoff import Backoff
from sweeperd.sweep.execute.context import RunContext
from sweeperd.sweep.outcome.report import Report, RunEndError

_STATUS_TRIES: Final = 20
_SHORT_WAIT: Final = 1.0  # seconds; a shorter wait for a connection is not worth a word


class Session:
    """One connection of a run, within the database's ``max_connections``.

    Args:
        database: Where to connect.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._run: RunContext | None = None
        self._stack = AsyncExitStack()
        self._connection: Connection | None = None
        self._pid = 0  # the connection's server process
        self.lost_pids: set[int] = set()  # server processes that may not have noticed yet

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._database.slot())
        return self

    @classmethod
    @asynccontextmanager
    async def lent(
        cls, database: Database, stop: asyncio.Event, report: Report, listener: Listener
    ) -> AsyncIterator[Session | None]:
        """Wait for a connection of the database's, in turn; None when ``stop`` is set meanwhile.

        A long wait is told once, with the key that decides how many there are.
        """
        loop = asyncio.get_running_loop()
        begun = loop.time()
        session = cls(database)
        entering = asyncio.ensure_future(session.__aenter__())
        stopping = asyncio.ensure_future(stop.wait())
        try:
            waits = {entering, stopping}
            await asyncio.wait(waits, timeout=_SHORT_WAIT, return_when=asyncio.FIRST_COMPLETED)
            if not entering.done() and not stop.is_set():
                most = database.config.max_connections
                reason = (
                    f"all {most} connections of database {database.name} are in use "
                    f"(max_connections = {most})"
                )
                listener(SweepWaits(report.sweep, reason))
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            waited = loop.time() - begun
            listener(Waited(report.sweep, "max_connections", round(waited, 3)))
            if waited >= _SHORT_WAIT:
                report.waited_seconds["max_connections"] = waited
            yield session if entering.done() else None
        finally:
            stopping.cancel()
            if not entering.done():
                entering.cancel()
            await asyncio.gather(entering, stopping, return_exceptions=True)
            if not entering.cancelled():
                await session.__aexit__(None, None, None)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self.drop()
        finally:
            await self._stack.aclose()

    async def drop(self) -> None:
        """Close the connection; the next `get` makes a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self.lost_pids.add(self._pid)
            await close(connection)

    def join(self, run: RunContext) -> None:
        """Belong to a run: from now on a lost connection is made again."""
        self._run = run

    async def get(self) -> Connection:
        """Return the connection; in a run, wait for the database when it is away.

        Raises:
            DatabaseUnreachableError: Outside a run, there is none to be had.
            RunEndError: Stopped meanwhile, or the server that came back is another system.
        """
        if self._connection is not None and not self._connection.is_closed():
            return self._connection
        if self._run is None:
            return await self._connect()
        return await self._again(self._run)

    async def _connect(self) -> Connection:
        connection = self._connection = await self._database.connect()
        self._pid = connection.get_server_pid()
        return connection

    async def _again(self, run: RunContext) -> Connection:
        backoff, lost = Backoff(), False
        while True:  # each turn that fails waits
            run.turns.turn("connect", self._database.name)
            try:
                connection = await self._connect()
                await _same_system(connection, run)
            except (DatabaseUnreachableError, *LOST_ERRORS) as error:
                await self.drop()
                run.waits.blocked = RunEndError("failed", str(error), EXIT_UNAVAILABLE)
                if not lost:
                    run.listener(DatabaseLost(self._database.name, str(error)))
                lost = True
                await run.waits.wait("database_lost", backoff.next())
                run.waits.check()
                continue
            if lost:
                run.listener(DatabaseBack(self._database.name))
            run.waits.blocked = None
            return connection

    async def was_committed(self, proof: Proof, run: RunContext) -> bool | None:
        """Ask what became of a COMMIT without an answer; None when nobody can tell.

        Only the same system, on the same timeline and without a crash since then, has not given the
        transaction's id to another one.
        """
        await self.drop()
        if proof.xid is None:
            return False
        for _ in range(_STATUS_TRIES):
            connection = await self.get()
            async with reading(connection):
                server = await read_server(CatalogReads(connection))
                if server.timeline is None or server.timeline != run.server.timeline:
                    return None
                epoch = await read_epoch(connection)
                if epoch != proof.epoch:
                    return None
                status = await transaction_status(connection, proof.xid)
            if status != "in progress":
                return {"committed": True, "aborted": False}.get(status or "")
            await run.waits.wait("commit_status", 0.1)
        return None


async def _same_system(connection: Connection, run: RunContext) -> None:
    known = run.server.system_identifier
    if known is None:
        return
    async with reading(connection):
        now = await read_server(CatalogReads(connection))
    if now.system_identifier != known:
        raise RunEndError(
            "held",
            f"database {run.database.name} came back as another system "
            f"({now.system_identifier}, was {known}): a restore, or another server",
            kinds=("system",),
        )
