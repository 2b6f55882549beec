"""A wire between client and server that breaks at a chosen message."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self


@dataclass
class Proxy:
    """Forwards a unix socket; cuts once, before or after the n-th message of the client.

    After: the server gets the message and answers, and nobody hears it.
    """

    upstream: Path
    cut_at: int | None = None
    after: bool = False
    for_good: bool = False
    seen: int = 0
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
        self._directory.cleanup()

    def dsn(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self._directory.name}&port=5432"

    async def cut(self) -> None:
        """Break; the wire itself is closed by the caller."""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        up_reader, up_writer = await asyncio.open_unix_connection(self.upstream)
        answers = asyncio.create_task(self._pump(up_reader, writer))
        try:
            while data := await reader.read(65536):
                self.seen += 1
                if self.for_good and self.cut_at and self.seen >= self.cut_at:
                    break
                if self.seen == self.cut_at and not self.after:
                    await self.cut()
                    break
                if self.seen == self.cut_at:
                    answers.cancel()
                    await asyncio.gather(answers, return_exceptions=True)
                    await self._until_answered(data, reader, up_reader, up_writer)
                    await self.cut()
                    break
                up_writer.write(data)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            answers.cancel()
            await asyncio.gather(answers, return_exceptions=True)
            writer.close()
            up_writer.close()
            self._tasks.discard(task)

    @staticmethod
    async def _until_answered(
        data: bytes,
        reader: asyncio.StreamReader,
        up_reader: asyncio.StreamReader,
        up_writer: asyncio.StreamWriter,
    ) -> None:
        """Pass on a message, which may come in pieces, until the server has done it."""
        answer = asyncio.ensure_future(up_reader.read(65536))
        while data and not answer.done():
            up_writer.write(data)
            more = asyncio.ensure_future(reader.read(65536))
            await asyncio.wait({answer, more}, return_when=asyncio.FIRST_COMPLETED)
            data = await more if more.done() else b""
            more.cancel()
        await answer

    @staticmethod
    async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()
