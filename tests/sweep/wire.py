"""A unix socket between client and server, on which a test interferes or listens."""

from __future__ import annotations

import asyncio
import tempfile
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self


@dataclass
class Wire(ABC):
    """Passes a server's answers on; what becomes of the client's messages is a subclass's.

    Attributes:
        upstream: The server's socket.
    """

    upstream: Path
    _tasks: set[asyncio.Task[None]] = field(default_factory=set, init=False)
    _writers: list[asyncio.StreamWriter] = field(default_factory=list, init=False)
    _ended: bool = field(default=False, init=False)

    async def __aenter__(self) -> Self:
        self._directory = tempfile.TemporaryDirectory(prefix="swp-", dir="/tmp")
        path = Path(self._directory.name) / ".s.PGSQL.5432"
        self._server = await asyncio.start_unix_server(self._accept, path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ended = True
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()  # closing waits for a peer that may not read any more
        await asyncio.sleep(0)  # transports close in the next turn of the loop
        self._directory.cleanup()

    def dsn(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self._directory.name}&port=5432"

    @abstractmethod
    async def pass_on(
        self,
        client: asyncio.StreamReader,
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        answers: asyncio.Task[None],
    ) -> None:
        """Pass a client's messages on until either side ends, or the wire breaks.

        Args:
            client: What it sends.
            server: The server's ends.
            answers: Passes the server's answers on, unless it is cancelled.
        """

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a client; one that comes as the wire ends is closed at once.

        A task that is cancelled before its first step closes nothing, so that the end does.
        """
        if self._ended:
            writer.close()
            return
        self._writers.append(writer)
        self._tasks.add(asyncio.ensure_future(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                await self._join(reader, writer)
        finally:
            writer.close()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opening = asyncio.ensure_future(asyncio.open_unix_connection(self.upstream))
        try:
            up_reader, up_writer = await asyncio.shield(opening)
        except asyncio.CancelledError:
            self._writers.append((await opening)[1])
            raise
        self._writers.append(up_writer)
        answers = asyncio.create_task(_answers(up_reader, writer))
        try:
            await self.pass_on(reader, (up_reader, up_writer), answers)
        finally:
            answers.cancel()
            await asyncio.gather(answers, return_exceptions=True)
            up_writer.close()


async def _answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
