"""The frame of each transaction: what is set LOCAL, the fence, and the fate of a COMMIT.

Nothing depends on session state, so that a transaction pooler may stand in between.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import asyncpg

from sweeperd.postgres.sql.expired import quote, quote_literal
from sweeperd.postgres.sql.rows import Statement
from sweeperd.postgres.sqlstate import Fault, classify

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]
else:  # the class is generic in the stubs only
    Connection = asyncpg.Connection

COMMIT_BOUND: Final = 5.0  # seconds; below the 10 s in which a stop must end
_ROLLBACK_BOUND: Final = 5.0
_READ_TIMEOUT_MS: Final = 5_000
# If this process is stopped in the middle of a batch, its locks go with the session.
_IDLE_TIMEOUT_MS: Final = 10_000
_TRANSACTION_TIMEOUT_VERSION: Final = 17
# As text[]: the driver would look name[] up in the catalogues, under this very path.
_SCHEMAS: Final = "SELECT pg_catalog.current_schemas(true)::pg_catalog.text[]"
_FENCE: Final = "SELECT pg_catalog.pg_try_advisory_xact_lock($1::pg_catalog.int8)"
_XID: Final = "SELECT pg_catalog.pg_current_xact_id_if_assigned()::pg_catalog.text"
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
    """

    application_name: str = "sweeperd"
    lock_timeout_ms: int = 1_000
    statement_timeout_ms: int = _READ_TIMEOUT_MS
    synchronous: bool = False
    read_only: bool = False
    search_path: tuple[str, ...] | None = None
    time_zone: str | None = None
    row_security: Literal["off", "on"] = "off"

    def begin(self, server_major: int) -> str:
        """Return BEGIN and its settings; read-only defaults are left as they are."""
        name = "".join(
            c for c in self.application_name if c.isascii() and (c.isalnum() or c in ":_-.")
        )
        settings: dict[str, str | int] = {
            "application_name": f"'{name[:63]}'",
            "lock_timeout": self.lock_timeout_ms,
            "statement_timeout": self.statement_timeout_ms,
            "idle_in_transaction_session_timeout": _IDLE_TIMEOUT_MS,
            "enable_tidscan": "on",
            "row_security": self.row_security,
        }
        if not self.synchronous:
            settings["synchronous_commit"] = "local"
        if server_major >= _TRANSACTION_TIMEOUT_VERSION:
            settings["transaction_timeout"] = 0
        if self.search_path is not None:
            settings["search_path"] = _path(self.search_path)
        if self.time_zone is not None:
            settings["TimeZone"] = quote_literal(self.time_zone)
        local = "".join(f"; SET LOCAL {name} = {value}" for name, value in settings.items())
        access = " READ ONLY" if self.read_only else ""
        return f"BEGIN ISOLATION LEVEL READ COMMITTED{access}{local}"


class CommitUnknownError(Exception):
    """The answer to a COMMIT was lost.

    Attributes:
        xid: The transaction's id, to ask ``pg_xact_status`` for; None when it wrote nothing.
        cancelled: A cancellation came meanwhile; raise it after accounting.
    """

    def __init__(self, xid: str | None, cause: BaseException, *, cancelled: bool = False) -> None:
        super().__init__(f"no answer to COMMIT: {cause}")
        self.xid = xid
        self.cancelled = cancelled


async def fetch(connection: Connection, statement: Statement) -> list[asyncpg.Record]:
    """Run a statement and return its rows."""
    rows: list[asyncpg.Record] = await connection.fetch(statement.text, *statement.args)
    return rows


async def fetchval(connection: Connection, statement: Statement) -> Any:  # noqa: ANN401 - any column
    """Run a statement and return the first column of its first row, or None."""
    return await connection.fetchval(statement.text, *statement.args)


async def execute(connection: Connection, statement: Statement) -> int:
    """Run a statement and return the number of rows its command tag tells."""
    tag: str = await connection.execute(statement.text, *statement.args)
    return int(tag.rpartition(" ")[2])


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
async def reading_rows(connection: Connection, frame: Frame) -> AsyncIterator[None]:
    """Frame reads of the operators' tables: as `reading`, and with the frame's own search_path."""
    async with _transaction(connection, replace(frame, read_only=True)):
        yield


@asynccontextmanager
async def _transaction(connection: Connection, frame: Frame) -> AsyncIterator[None]:
    await connection.execute(frame.begin(major_version(connection)))
    try:
        yield
    except BaseException:
        await abort(connection)
        raise
    await connection.execute("COMMIT", timeout=COMMIT_BOUND)


async def set_search_path(connection: Connection, path: tuple[str, ...] | None) -> None:
    """Set search_path for the rest of a transaction; None is the role's own."""
    value = "DEFAULT" if path is None else _path(path)
    await connection.execute(f"SET LOCAL search_path TO {value}")


async def own_search_path(connection: Connection) -> tuple[str, ...]:
    """Return the schemas of the role's own path that exist, in order; ends with names pinned."""
    await set_search_path(connection, None)
    schemas = await connection.fetchval(_SCHEMAS)
    await set_search_path(connection, PINNED)
    return tuple(schemas)


def _path(schemas: tuple[str, ...]) -> str:
    """Return the value of search_path; an empty one is written as an empty name."""
    return ", ".join(map(quote, schemas)) or "''"


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


async def try_fence(connection: Connection, key: int) -> bool:
    """Take the lane's fence for this transaction, or return False."""
    return bool(await connection.fetchval(_FENCE, key))


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


@dataclass(frozen=True)
class Committed:
    """A COMMIT that was answered.

    Attributes:
        cancelled: A cancellation came meanwhile; raise it after counting.
        xid: The transaction's 64-bit id; None when it wrote nothing.
    """

    cancelled: bool
    xid: int | None


async def assigned_xid(connection: Connection) -> str | None:
    """Return the id of the transaction under way; None when it wrote nothing so far."""
    xid: str | None = await connection.fetchval(_XID)
    return xid


async def commit(connection: Connection, xid: str | None) -> Committed:
    """Send COMMIT and wait for its answer.

    Args:
        connection: In a transaction.
        xid: Its id, if it wrote: to ask for its fate, should the answer be lost.

    Raises:
        CommitUnknownError: The answer was lost.
        asyncpg.PostgresError: The server refused (a deferred constraint, for one).
    """
    answer = asyncio.ensure_future(connection.execute("COMMIT", timeout=COMMIT_BOUND))
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
        raise CommitUnknownError(xid, error, cancelled=cancelled) from error
    if tag != "COMMIT":
        raise CommitUnknownError(None, RuntimeError(f"COMMIT answered {tag}"))
    return Committed(cancelled, int(xid) if xid else None)


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
