"""Connections to one database: no session state, at most ``max_connections`` at a time."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from sweeperd.config.models import DatabaseConfig
from sweeperd.config.values.dsn import Attempt, connect_attempts
from sweeperd.errors import ConfigError, DatabaseUnreachableError
from sweeperd.postgres.scram import bound_iterations
from sweeperd.postgres.sqlstate import SERVER_ERRORS, describe
from sweeperd.postgres.transaction import PINNED, Connection, Frame, major_version, settle

CONNECT_TIMEOUT: Final = 10.0  # seconds
_CLOSE_TIMEOUT: Final = 2.0
# Instants and days travel as PostgreSQL's own integers: exact, and no year is out of range.
_INTEGER_TYPES: Final = ("timestamptz", "timestamp", "date")
# The driver looks an array type up in the catalogues when it first meets it. It meets them all
# here, where search_path is pinned, and never among statements on the operators' tables.
_ARRAYS: Final = "SELECT " + ", ".join(
    f"NULL::pg_catalog.{name}[]"
    for name in ("bool", "int2", "int4", "int8", "numeric", "float4", "float8", "tid", "name")
)

bound_iterations()


class Database:
    """One ``[databases.X]``: hands out connections and closes them after use.

    Args:
        config: Its DSN, secret and limits.

    Attributes:
        in_use: Slots that are taken at this moment.
        waiting: Who waits for one.
    """

    def __init__(self, config: DatabaseConfig) -> None:
        self.config = config
        self.in_use = 0
        self.waiting = 0
        self._free = asyncio.Semaphore(config.max_connections)

    @property
    def name(self) -> str:
        """The name in the configuration."""
        return self.config.name

    @property
    def has_free_slot(self) -> bool:
        """Whether a connection can be had at once, and nobody waits for one."""
        return not self._free.locked()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for one of ``max_connections``."""
        self.waiting += 1
        try:
            await self._free.acquire()
        finally:
            self.waiting -= 1
        self.in_use += 1
        try:
            yield
        finally:
            self.in_use -= 1
            self._free.release()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Wait for a slot, connect, and close afterwards.

        Raises:
            DatabaseUnreachableError: Not there, refused, or login failed.
        """
        async with self.slot():
            connection = await self.connect()
            try:
                yield connection
            finally:
                await close(connection)

    async def connect(self) -> Connection:
        """Open one connection; the caller holds a slot.

        Raises:
            DatabaseUnreachableError: Not there, refused, or login failed.
        """
        try:
            attempts = connect_attempts(self.config.dsn)
        except ValueError as error:
            raise DatabaseUnreachableError(
                f"database {self.name}: the dsn {error}", cure="correct the dsn"
            ) from error
        try:
            password = self.config.password()
        except ConfigError as error:
            # it may be there again in a moment: the secret is being rotated
            raise DatabaseUnreachableError(str(error)) from error
        failure: DatabaseUnreachableError | None = None
        for attempt in attempts:
            try:
                return await self._try(attempt, password)
            except DatabaseUnreachableError as error:
                failure = failure or error
                if isinstance(error.__cause__, asyncpg.InvalidAuthorizationSpecificationError):
                    break  # libpq tries no further host after a refused login
        assert failure is not None  # noqa: S101 - there is at least one host
        raise failure

    async def _try(self, attempt: Attempt, password: str | None) -> Connection:
        """Log in to one host; nothing in it lasts longer than its limit."""
        limit = attempt.timeout or CONNECT_TIMEOUT
        connection: Connection | None = None
        try:
            async with asyncio.timeout(limit):
                connection = await asyncpg.connect(
                    attempt.dsn, password=password, timeout=limit, statement_cache_size=0
                )
                await self._adopt(connection)
        except BaseException as error:
            if connection is not None:
                connection.terminate()
            if isinstance(error, SERVER_ERRORS):
                raise DatabaseUnreachableError(
                    f"database {self.name}: {self._why(error, limit)}", cure=_cure(error)
                ) from error
            if isinstance(error, KeyError | RuntimeError) and connection is None:
                # the driver asks for the name and the home of this process's user
                raise DatabaseUnreachableError(
                    f"database {self.name}: the user id {os.geteuid()} has no entry in /etc/passwd",
                    cure="write user= and passfile= in the dsn, or run it as a user that has one",
                ) from error
            if isinstance(error, ValueError):
                raise DatabaseUnreachableError(
                    f"database {self.name}: the dsn cannot be used: {error}", cure="correct the dsn"
                ) from error
            raise
        return connection

    async def _adopt(self, connection: Connection) -> None:
        """Set client-side codecs; a pooler needs even these reads inside a transaction."""
        frame = Frame(read_only=True, search_path=PINNED)
        await connection.execute(frame.begin(major_version(connection)))
        for name in _INTEGER_TYPES:
            await connection.set_type_codec(
                name,
                schema="pg_catalog",
                encoder=lambda value: (value,),
                decoder=lambda value: value[0],
                format="tuple",
            )
        await connection.fetchrow(_ARRAYS)
        await connection.execute("COMMIT")

    def _why(self, error: BaseException, limit: float) -> str:
        if isinstance(error, TimeoutError):
            return f"no answer within {limit:.0f} s"
        if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
            return f"login refused: {describe(error)}"
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"the server's certificate is refused: {error.verify_message}"
        if isinstance(error, ssl.SSLError):
            return f"TLS failed: {error.reason or error}"
        if isinstance(error, PermissionError) and error.filename:
            return f"{error.filename} cannot be read: {error.strerror}"
        return f"cannot connect: {describe(error)}"


def _cure(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _CERTIFICATE_CURES.get(
            error.verify_code, "check sslrootcert, and the certificate of the server"
        )
    if isinstance(error, PermissionError) and error.filename:
        return "let the user that sweeperd runs as read it, or set HOME to a directory of that user"
    return next(
        (cure for kind, cure in _CURES if isinstance(error, kind)),
        "check that the server runs and that the dsn names its host and port",
    )


_CURES: Final = (
    (
        asyncpg.InvalidAuthorizationSpecificationError,
        "check user and password, and the server's pg_hba.conf",
    ),
    (asyncpg.InvalidCatalogNameError, "check the database name in the dsn"),
    (asyncpg.TooManyConnectionsError, "raise the server's or the role's connection limit"),
    (ssl.SSLError, "check sslcert, sslkey, sslpassword and the TLS settings of the server"),
    (
        (asyncpg.InternalClientError, asyncpg.InterfaceError),
        "check what answers at that host and port",
    ),
)
# verify(1ssl), X509_V_ERR_...
_CERTIFICATE_CURES: Final = {
    9: "check the clock of this host, or wait until the certificate is valid",
    10: "renew the server's certificate",
    18: "name the server's own certificate, or its authority's, with sslrootcert",
    19: "name the authority of the server's certificate with sslrootcert",
    20: "name the authority of the server's certificate with sslrootcert",
    62: "write the host as the certificate names it, or use sslmode=verify-ca",
    64: "write the host as the certificate names it, or use sslmode=verify-ca",
}


async def close(connection: Connection) -> None:
    """Close politely, or cut off; a cancellation meanwhile does not leave it open."""
    if connection.is_closed():
        return
    closing = asyncio.ensure_future(connection.close(timeout=_CLOSE_TIMEOUT))
    cancelled = await settle(closing)
    if closing.exception() is not None:  # it is being thrown away
        connection.terminate()
    if cancelled:
        raise asyncio.CancelledError
