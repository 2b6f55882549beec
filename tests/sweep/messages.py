"""A wire that reads along: which messages a client sends to the server."""

from __future__ import annotations

import asyncio
import struct
import tempfile
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self


@dataclass
class Wire:
    """Forwards a unix socket and keeps each message of the client, as it is answered.

    One message is a simple query, or all that an extended query sends up to its Sync.

    Attributes:
        upstream: The server's socket.
        hold_at: Number of the message that is never passed on; all that follows is not, either.
        sent: The text of each simple query, or the kinds of an extended one's parts.
        held: Set once the message is held.
    """

    upstream: Path
    hold_at: int | None = None
    sent: list[str] = field(default_factory=list)
    held: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        self._directory = tempfile.TemporaryDirectory(prefix="swp-", dir="/tmp")
        path = Path(self._directory.name) / ".s.PGSQL.5432"
        self._server = await asyncio.start_unix_server(self._serve, path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # transports close in the next turn of the loop
        self._directory.cleanup()

    def dsn(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self._directory.name}&port=5432"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        async with AsyncExitStack() as ends:
            ends.callback(writer.close)
            ends.callback(self._tasks.discard, task)
            with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
                up_reader, up_writer = await asyncio.open_unix_connection(self.upstream)
                ends.callback(up_writer.close)
                answers = asyncio.create_task(_answers(up_reader, writer))
                ends.callback(answers.cancel)
                await self._questions(reader, up_writer)

    async def _questions(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (length,) = struct.unpack("!I", first := await reader.readexactly(4))
        writer.write(first + await reader.readexactly(length - 4))
        parts = ""
        while True:
            kind = await reader.readexactly(1)
            (length,) = struct.unpack("!I", size := await reader.readexactly(4))
            body = await reader.readexactly(length - 4)
            if kind == b"Q":
                self.sent.append(body.rstrip(b"\0").decode())
            elif kind == b"S":
                self.sent.append(f"extended: {parts}")
                parts = ""
            elif kind in b"PBDEC":
                parts += kind.decode()
            if self.hold_at is not None and len(self.sent) > self.hold_at:
                self.held.set()
                await asyncio.Event().wait()
            writer.write(kind + size + body)


async def _answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()
