"""The demo's stage: a throw-away server, a living application, and the real daemon on it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import asyncpg

from sweeperd.demo import tables
from sweeperd.demo.server import Server
from sweeperd.demo.tables import DemoTable
from sweeperd.postgres.transaction import Connection

_PAUSE: Final = 0.002  # seconds between two writes of the application
_STOP_SECONDS: Final = 20.0
_CONFIG: Final = """\
[daemon]
state_dir = "{state}"
log_format = "json"

[databases.demo]
dsn = "{dsn}"
"""


@dataclass(frozen=True)
class Tally:
    """What became of one table.

    Attributes:
        before: Rows when the daemon started.
        created: Rows that the application added meanwhile.
        deleted: Rows that the sweep deleted, as a trigger saw it.
        left: Rows at the end.
        expired_left: Of these, rows that had expired at the last drained run's cutoff.
        wrong: Deleted rows that had not expired at their run's cutoff.
    """

    name: str
    before: int
    created: int
    deleted: int
    left: int
    expired_left: int
    wrong: int


@dataclass
class Stage:
    """One demo under way.

    Args:
        server: A server that runs.
        show: Takes each log event of the daemon.
    """

    server: Server
    show: Callable[[dict[str, Any]], None]
    cutoffs: dict[str, datetime] = field(default_factory=dict)
    last_cutoff: dict[str, datetime] = field(default_factory=dict)
    before: dict[str, int] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        """The configuration that the demo writes."""
        return self.server.directory / "sweeperd.toml"

    async def prepare(self) -> None:
        """Make and fill the tables; write the configuration."""
        connection = await asyncpg.connect(self.server.dsn())
        await connection.execute(tables.SCHEMA)
        await connection.execute(tables.FILL)
        for table in tables.TABLES:
            await connection.execute(tables.note_deleted(table))
            self.before[table.name] = await connection.fetchval(table.count)
        await connection.execute(tables.ANALYZE)
        await connection.close()
        state = self.server.directory / "state"
        state.mkdir(exist_ok=True)
        text = _CONFIG.format(state=state, dsn=self.server.dsn())
        self.config.write_text(text + "".join(_sweep(table) for table in tables.TABLES))

    async def play(self, stop: asyncio.Event) -> int:
        """Run application and daemon until ``stop``; return the daemon's exit code."""
        daemon = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sweeperd", "run", "--config", str(self.config)),
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for us: we stop it in order
        )
        writers = [asyncio.create_task(self._live(number)) for number in range(2)]
        reader = asyncio.create_task(self._read(daemon))
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({reader, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*writers, stopped):
                task.cancel()
            await asyncio.gather(*writers, stopped, return_exceptions=True)
            with suppress(ProcessLookupError):
                daemon.terminate()
            try:
                await asyncio.wait_for(reader, _STOP_SECONDS)
            except TimeoutError:
                daemon.kill()
        return await daemon.wait()

    async def tally(self) -> list[Tally]:
        """Count what became of each table; the daemon must have ended."""
        connection = await asyncpg.connect(self.server.dsn())
        try:
            return [await self._tally(connection, table) for table in tables.TABLES]
        finally:
            await connection.close()

    async def _tally(self, connection: Connection, table: DemoTable) -> Tally:
        runs, cutoffs = list(self.cutoffs), list(self.cutoffs.values())
        deleted = await connection.fetchval(tables.DELETED, table.name)
        left = await connection.fetchval(table.count)
        wrong = await connection.fetchval(tables.WRONGLY_DELETED, table.name, runs, cutoffs)
        unknown = await connection.fetchval(tables.UNKNOWN_RUNS, table.name, runs)
        last = self.last_cutoff.get(table.name)
        expired = await connection.fetchval(table.expired, last) if last else left
        before = self.before[table.name]
        created = left + deleted - before
        return Tally(table.name, before, created, deleted, left, expired, wrong + unknown)

    async def _read(self, daemon: asyncio.subprocess.Process) -> None:
        if daemon.stderr is None:
            return
        async for line in daemon.stderr:
            try:
                event = json.loads(line)
            except ValueError:
                event = {"event": "library_message", "text": line.decode(errors="replace").strip()}
            cutoff = event.get("cutoff_time")
            if cutoff:
                at = datetime.fromisoformat(cutoff)
                sweep, correlation_id = event["sweep"], event["correlation_id"]
                self.cutoffs[f"sweeperd:{correlation_id[:8]}:{sweep}"] = at
                if event.get("outcome") == "drained":
                    self.last_cutoff[sweep] = at
            self.show(event)

    async def _live(self, offset: int) -> None:
        """Be the application: create and renew, all the time."""
        connection = await asyncpg.connect(self.server.dsn())
        number = offset
        try:
            while True:
                number += 2
                await connection.execute(tables.RENEW_SESSION, number)
                await connection.execute(tables.CREATE_SESSION, number)
                if number % 20 == 0:
                    await connection.execute(tables.ISSUE, number)
                    await connection.execute(tables.LOG, number)
                await asyncio.sleep(_PAUSE)
        finally:
            connection.terminate()


def _sweep(table: DemoTable) -> str:
    unit = f'unit = "{table.unit}"\n' if table.unit else ""
    return f"""
[sweeps.{table.name}]
table = "public.{table.name}"
column = "{table.column}"
{unit}keep = "{table.keep}"
interval = "{table.interval}"
"""
