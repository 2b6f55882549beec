"""A network in between: a TCP port that hands on every byte some milliseconds later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from bench.server_log import database_of

_LONGEST_END = 5.0  # seconds


@asynccontextmanager
async def slow_link(dsn: str, socket: Path, seconds: float) -> AsyncIterator[str]:
    """Give a DSN through which each way takes so long; bandwidth is not limited.

    Args:
        dsn: Of the database.
        socket: The server's socket.
        seconds: Delay of each way.
    """
    tasks: set[asyncio.Task[None]] = set()
    ends: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            tasks.add(task)
        far_reader, far_writer = await asyncio.open_unix_connection(socket)
        ends.extend((writer, far_writer))
        with suppress(ConnectionError):
            await asyncio.gather(
                _hand_on(reader, far_writer, seconds), _hand_on(far_reader, writer, seconds)
            )

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"postgresql://postgres@127.0.0.1:{port}/{database_of(dsn)}"
    finally:
        server.close()
        for end in ends:
            end.close()  # each way ends by itself when nothing more can come
        if tasks:
            await asyncio.wait(tasks, timeout=_LONGEST_END)


async def _hand_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float
) -> None:
    """Write what is read, each piece ``seconds`` after it came."""
    loop = asyncio.get_running_loop()
    pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def take() -> None:
        data = b"-"
        while data:
            try:
                data = await reader.read(65536)
            except ConnectionError:
                data = b""
            pieces.put_nowait((loop.time() + seconds, data))

    taking = asyncio.create_task(take())
    try:
        while True:
            due, data = await pieces.get()
            await asyncio.sleep(due - loop.time())
            if not data:
                return
            writer.write(data)
            await writer.drain()
    finally:
        taking.cancel()
        writer.close()
