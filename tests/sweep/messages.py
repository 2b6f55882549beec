"""A wire that reads along: which messages a client sends to the server."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass, field

from tests.sweep.wire import Wire


@dataclass
class MessageWire(Wire):
    """Forwards a unix socket and keeps each message of the client.

    One message is a simple query, or all that an extended query sends up to its Sync.

    Attributes:
        hold_at: Number of the message that is never passed on; all that follows is not, either.
        sent: The text of each simple query, or the kinds of an extended one's parts.
        held: Set once the message is held.
    """

    hold_at: int | None = None
    sent: list[str] = field(default_factory=list)
    held: asyncio.Event = field(default_factory=asyncio.Event)

    async def pass_on(
        self,
        client: asyncio.StreamReader,
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        answers: asyncio.Task[None],  # noqa: ARG002 - Wire's
    ) -> None:
        writer = server[1]
        (length,) = struct.unpack("!I", first := await client.readexactly(4))
        writer.write(first + await client.readexactly(length - 4))
        parts = ""
        while True:
            kind = await client.readexactly(1)
            (length,) = struct.unpack("!I", size := await client.readexactly(4))
            body = await client.readexactly(length - 4)
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
