"""A wire between client and server that breaks at a chosen message."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from tests.sweep.wire import Wire


@dataclass
class Proxy(Wire):
    """Forwards a unix socket; cuts once, before or after the n-th message of the client.

    After: the server gets the message and answers, and nobody hears it.
    """

    cut_at: int | None = None
    after: bool = False
    for_good: bool = False
    seen: int = 0

    async def cut(self) -> None:
        """Break; the wire itself is closed by the caller."""

    async def pass_on(
        self,
        client: asyncio.StreamReader,
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        answers: asyncio.Task[None],
    ) -> None:
        while data := await client.read(65536):
            self.seen += 1
            if self.for_good and self.cut_at and self.seen >= self.cut_at:
                return
            if self.seen == self.cut_at and not self.after:
                await self.cut()
                return
            if self.seen == self.cut_at:
                answers.cancel()
                await asyncio.gather(answers, return_exceptions=True)
                await self._until_answered(data, client, *server)
                await self.cut()
                return
            server[1].write(data)

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
