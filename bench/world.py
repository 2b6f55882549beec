"""The server of the bench, and a fresh copy of a prepared database for each measurement."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from bench.server_log import PREFIX, batch_seconds, logged
from sweeperd.demo.server import Installation, Server

# a server as an operator runs it: durable, statistics by hand so that no run meets autovacuum
SETTINGS = {
    "shared_buffers": "512MB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "1h",
    "autovacuum": "off",
    "log_line_prefix": PREFIX,
}


class World:
    """One server; databases are copied from templates, so that each peer starts alike."""

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        self.settings = dict(settings or {})
        found = Installation.system(15) or Installation.find()
        self.server = Server(found, SETTINGS | self.settings, durable=True)
        self._numbers = itertools.count(1)
        self._templates: dict[str, str] = {}

    def start(self) -> None:
        self.server.create()
        self.server.start()

    def stop(self) -> None:
        self.server.stop(immediate=True)
        self.server.remove()

    @property
    def bin(self) -> str:
        return str(self.server.installation.bin)

    @property
    def socket(self) -> Path:
        """The server's socket."""
        return self.server.directory / f".s.PGSQL.{self.server.port}"

    async def log_batches(self, dsn: str) -> None:
        """Have the server log the statements in a database, for `batches`."""
        await self.admin(logged(dsn))

    def batches(self, dsn: str) -> list[float]:
        """Return the seconds at the server of each batch in a database."""
        return batch_seconds(self.server.log_text(), dsn)

    async def admin(self, query: str) -> None:
        connection = await asyncpg.connect(self.server.dsn())
        await connection.execute(query)
        await connection.close()

    async def prepare(self, sql: str) -> str:
        """Return the template that this SQL fills; vacuumed, analysed, on disk."""
        if sql not in self._templates:
            name = f"template_{next(self._numbers)}"
            await self.admin(f"CREATE DATABASE {name} TEMPLATE template0")
            connection = await asyncpg.connect(self.server.dsn(name))
            for statement in filter(str.strip, sql.split(";;")):
                await connection.execute(statement, timeout=None)
            await connection.execute("VACUUM (ANALYZE)")
            await connection.close()
            await self.admin("CHECKPOINT")
            self._templates[sql] = name
        return self._templates[sql]

    @asynccontextmanager
    async def copy(self, template: str) -> AsyncIterator[str]:
        """Give a fresh copy's DSN; every page is read once, so that each peer starts warm."""
        name = f"copy_{next(self._numbers)}"
        await self.admin(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        await self.admin("CHECKPOINT")
        try:
            yield self.server.dsn(name)
        finally:
            await self.admin(f"DROP DATABASE {name} WITH (FORCE)")


@asynccontextmanager
async def world(settings: Mapping[str, str] | None = None) -> AsyncIterator[World]:
    """Give a server of a row's own."""
    made = World(settings)
    made.start()
    try:
        yield made
    finally:
        made.stop()
