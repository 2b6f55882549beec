"""The frame of each transaction: what is set LOCAL, the fence, and the fate of a COMMIT.

Nothing depends on session state, so that a transaction pooler may stand in between.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import asyncpg

from sweeperd.postgres.proof import Epoch, Proof
from sweeperd.postgres.sql import batch as sql
from sweeperd.postgres.sql.expired import quote
from sweeperd.postgres.sql.literals import set_local
from sweeperd.postgres.sql.target import Statement
from sweeperd.postgres.sqlstate import Fault, classify

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]
else:  # the class is generic in the stubs only
    Connection = asyncpg.Connection

COMMIT_BOUND: Final = 5.0  # seconds; below the 10 s in which a stop must end
_ROLLBACK_BOUND: Final = 5.0
_READ_TIMEOUT_MS: Final = 5_000
_IDLE_TIMEOUT_MS: Final = 10_000
_TRANSACTION_TIMEOUT_VERSION: Final = 17
# As text[]: the driver would look name[] up in the catalogues, under this very path.
_NOTE_OWN_PATH: Final = (
    "pg_catalog.set_config('sweeperd.own_path', "
    "pg_catalog.current_schemas(true)::pg_catalog.text, true)"
)
_OWN_PATH: Final = "SELECT pg_catalog.current_setting('sweeperd.own_path')::pg_catalog.text[]"
_STATUS: Final = "SELECT pg_catalog.pg_xact_status($1::pg_catalog.text::pg_catalog.xid8)"
# Only a superuser creates something in pg_catalog, and in pg_temp only this very session, where
# nothing is looked for but relations and types that pg_catalog lacks.
PINNED: Final = ("pg_catalog", "pg_temp")


@dataclass(frozen=True)
class Frame:
    """What a transaction sets for itself.

    Attributes:
        application_name: Name shown in pg_stat_activity.
        lock_timeout_ms: Longest wait for one lock, milliseconds.
        statement_timeout_ms: Longest statement, milliseconds.
        synchronous: Wait for standbys at COMMIT; a batch does not.
        read_only: Whether the transaction may only read.
        search_path: Schemas in which names are looked up; None leaves the role's own path, as
            triggers know it.
        time_zone: What TimeZone is; None leaves the role's own.
        row_security: ``off`` raises where a policy would hide rows, ``on`` obeys the policies.
        idle_timeout_ms: Longest time between two messages, milliseconds. If this process is
            stopped in the middle of a batch, its locks go with the session.
        transaction_timeout_ms: Longest transaction, milliseconds, where the server (17 and newer)
            bounds it; 0 for any.
        deadlock_timeout_ms: After which wait for a lock a deadlock is looked for, milliseconds, so
            that this transaction is its victim; None where the role may not set it.
    """

    application_name: str = "sweeperd"
    lock_timeout_ms: int = 1_000
    statement_timeout_ms: int = _READ_TIMEOUT_MS
    synchronous: bool = False
    read_only: bool = False
    search_path: tuple[str, ...] | None = None
    time_zone: str | None = None
    row_security: Literal["off", "on"] = "off"
    idle_timeout_ms: int = _IDLE_TIMEOUT_MS
    transaction_timeout_ms: int = 0
    deadlock_timeout_ms: int | None = None

    def begin(self, server_major: int, further: Mapping[str, str] | None = None) -> str:
        """Return BEGIN and its settings; read-only defaults are left as they are.

        What varies goes through set_config: of each text of a SET pg_stat_statements would keep an
        entry. Timeouts hold from the next statement on.

        Args:
            server_major: The server's major version.
            further: Other settings for this transaction.
        """
        name = "".join(
            c for c in self.application_name if c.isascii() and (c.isalnum() or c in ":_-.")
        )
        settings = [
            ("application_name", name[:63]),
            ("lock_timeout", str(self.lock_timeout_ms)),
            ("statement_timeout", str(self.statement_timeout_ms)),
            ("idle_in_transaction_session_timeout", str(self.idle_timeout_ms)),
            ("enable_tidscan", "on"),
            ("row_security", self.row_security),
        ]
        if self.read_only:  # no read of ours takes workers from the application
            settings.append(("max_parallel_workers_per_gather", "0"))
        if not self.synchronous:
            settings.append(("synchronous_commit", "local"))
        if server_major >= _TRANSACTION_TIMEOUT_VERSION:
            # a timer that runs already is not set anew, but for one that was switched off
            settings.append(("transaction_timeout", "0"))
            settings.append(("transaction_timeout", str(self.transaction_timeout_ms)))
        if self.deadlock_timeout_ms is not None:
            settings.append(("deadlock_timeout", str(self.deadlock_timeout_ms)))
        if self.search_path is not None:
            settings.append(("search_path", _path(self.search_path)))
        if self.time_zone is not None:
            settings.append(("TimeZone", self.time_zone))
        settings += (further or {}).items()
        local = ", ".join(set_local(name, value) for name, value in settings)
        if self.search_path == PINNED:  # noted before it is set: a list is worked from the left
            local = f"{_NOTE_OWN_PATH}, {local}"
        access = " READ ONLY" if self.read_only else ""
        return f"BEGIN ISOLATION LEVEL READ COMMITTED{access}; SELECT {local}"


class CommitUnknownError(Exception):
    """The answer to a COMMIT was lost.

    Attributes:
        proof: What was read last in the transaction; None when it certainly did not commit.
        cancelled: A cancellation came meanwhile; raise it after accounting.
    """

    def __init__(
        self, proof: Proof | None, cause: BaseException, *, cancelled: bool = False
    ) -> None:
        super().__init__(f"no answer to COMMIT: {cause}")
        self.proof = proof
        self.cancelled = cancelled


async def fetch(connection: Connection, statement: Statement) -> list[asyncpg.Record]:
    """Run a statement and return its rows."""
    rows: list[asyncpg.Record] = await connection.fetch(statement.text, *statement.args)
    return rows


async def fetchval(connection: Connection, statement: Statement) -> Any:  # noqa: ANN401 - any column
    """Run a statement and return the first column of its first row, or None."""
    return await connection.fetchval(statement.text, *statement.args)


@asynccontextmanager
async def reading(connection: Connection, frame: Frame | None = None) -> AsyncIterator[None]:
    """Frame catalogue and statistics reads: one short transaction, which may only read.

    Names are looked up in pg_catalog alone, so that nothing which another role created in a schema
    of this role's search_path can be meant, the driver's own look-ups included.
    """
    frame = replace(frame or Frame(), read_only=True, search_path=PINNED)
    async with _transaction(connection, frame):
        yield


@asynccontextmanager
async def reading_rows(
    connection: Connection, frame: Frame, further: Mapping[str, str] | None = None
) -> AsyncIterator[None]:
    """Frame reads of the operators' tables: as `reading`, and with the frame's own search_path.

    Args:
        connection: In no transaction.
        frame: What the transaction sets; what bounds a batch as a whole does not bound a read.
        further: Other settings for this transaction.
    """
    frame = replace(frame, read_only=True, transaction_timeout_ms=0)
    async with _transaction(connection, frame, further):
        yield


@asynccontextmanager
async def locking_rows(connection: Connection, frame: Frame) -> AsyncIterator[None]:
    """Frame reads that lock what nobody else has locked, for as long as they take.

    Args:
        connection: In no transaction.
        frame: As for `reading_rows`.
    """
    frame = replace(frame, read_only=False, transaction_timeout_ms=0)
    async with _transaction(connection, frame):
        yield


@asynccontextmanager
async def _transaction(
    connection: Connection, frame: Frame, further: Mapping[str, str] | None = None
) -> AsyncIterator[None]:
    await connection.execute(frame.begin(major_version(connection), further))
    try:
        yield
    except BaseException:
        await abort(connection)
        raise
    await connection.execute("COMMIT", timeout=COMMIT_BOUND)


async def set_search_path(connection: Connection, path: tuple[str, ...] | None) -> None:
    """Set search_path for the rest of a transaction; None is the role's own."""
    if path is None:
        await connection.execute("SET LOCAL search_path TO DEFAULT")
    else:
        await connection.execute(f"SELECT {set_local('search_path', _path(path))}")


async def own_search_path(connection: Connection) -> tuple[str, ...]:
    """Return the schemas of the role's own path that exist, in order; in a `reading`."""
    return tuple(await connection.fetchval(_OWN_PATH))


def _path(schemas: tuple[str, ...]) -> str:
    """Return the value of search_path; an empty one is written as an empty name."""
    return ", ".join(map(quote, schemas)) or '""'


@asynccontextmanager
async def savepoint(connection: Connection, *, undone: bool = False) -> AsyncIterator[None]:
    """Keep the transaction usable when a statement inside fails; its error goes on.

    Args:
        connection: In a transaction.
        undone: Whether what is set inside is taken back at the end, too.
    """
    await connection.execute("SAVEPOINT optional")
    try:
        yield
    except asyncpg.PostgresError:
        await connection.execute("ROLLBACK TO SAVEPOINT optional")
        raise
    if undone:
        await connection.execute("ROLLBACK TO SAVEPOINT optional")
    await connection.execute("RELEASE SAVEPOINT optional")


def major_version(connection: Connection) -> int:
    """Return the server's major version."""
    return int(connection.get_server_version().major)


def fence_key(*names: str) -> int:
    """Return the fence's key: a signed 64-bit hash of database, table, sweep and lane."""
    digest = hashlib.blake2b("\0".join(("sweeperd", *names)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


async def abort(connection: Connection) -> None:
    """Roll back, whatever state the transaction is in; a session that cannot is closed."""
    if connection.is_closed():
        return
    rollback = asyncio.ensure_future(connection.execute("ROLLBACK", timeout=_ROLLBACK_BOUND))
    cancelled = await settle(rollback)
    if rollback.exception() is not None:  # whatever it was, this session is of no more use
        connection.terminate()
    if cancelled:
        raise asyncio.CancelledError


async def commit(connection: Connection, proof: Proof) -> bool:
    """Send COMMIT and wait for its answer; tell whether a cancellation came meanwhile.

    Args:
        connection: In a transaction.
        proof: What was read last in it, to ask for its fate, should the answer be lost.

    Raises:
        CommitUnknownError: The answer was lost.
        asyncpg.PostgresError: The server refused.
    """
    answer = asyncio.ensure_future(connection.execute(sql.COMMIT, timeout=COMMIT_BOUND))
    cancelled = await settle(answer)
    try:
        tag = answer.result()
    except Exception as error:
        # a server that goes down may have committed already, and said so to nobody
        told = isinstance(error, asyncpg.PostgresError) and classify(error) is not Fault.LOST
        if told and not connection.is_closed():
            if cancelled:  # it was refused: nothing is left to account for
                raise asyncio.CancelledError from error
            raise
        connection.terminate()
        raise CommitUnknownError(proof, error, cancelled=cancelled) from error
    if tag != "COMMIT":
        raise CommitUnknownError(None, RuntimeError(f"COMMIT answered {tag}"))
    return cancelled


async def settle(answer: asyncio.Future[Any]) -> bool:
    """Wait until the answer is there, whatever it is; tell whether we were cancelled meanwhile."""
    cancelled = False
    while not answer.done():
        try:
            await asyncio.shield(answer)
        except asyncio.CancelledError:
            cancelled = True
        except Exception:  # noqa: BLE001, S110 - the caller asks for its result
            pass
    return cancelled


async def transaction_status(connection: Connection, xid: str) -> str | None:
    """Return committed, aborted, in progress, or None when the server has forgotten."""
    status: str | None = await connection.fetchval(_STATUS, xid)
    return status


async def read_epoch(connection: Connection) -> Epoch:
    """Return between which crashes the transaction ids of this moment are given."""
    row = (await connection.fetch(sql.EPOCH))[0]
    return Epoch(row["started"], row["stats_reset"])
