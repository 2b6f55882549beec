"""A peer on the network that falls silent, or asks for endless work, costs one bounded attempt."""

from __future__ import annotations

import asyncio
import base64
import re
import struct
from contextlib import suppress
from contextvars import ContextVar

import asyncpg
import pytest

from sweeperd.config.models import DatabaseConfig
from sweeperd.config.values.dsn import check_dsn, hide_password
from sweeperd.errors import DatabaseUnreachableError
from sweeperd.postgres import connect

_GONE: ContextVar[asyncio.Event] = ContextVar("gone")


async def _greedy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    (length,) = struct.unpack("!i", await reader.readexactly(4))
    await reader.readexactly(length - 4)
    body = struct.pack("!i", 10) + b"SCRAM-SHA-256\0\0"
    writer.write(b"R" + struct.pack("!i", len(body) + 4) + body)
    first = await reader.read(4096)
    nonce = re.search(rb"r=([^,]+)", first)
    assert nonce is not None
    answer = b"r=" + nonce[1] + b"x,s=" + base64.b64encode(b"salt" * 4) + b",i=2147483647"
    body = struct.pack("!i", 11) + answer
    writer.write(b"R" + struct.pack("!i", len(body) + 4) + body)
    await _until_gone(reader, writer)


async def _silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _until_gone(reader, writer)


async def _until_gone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        await reader.read()
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    _GONE.get().set()


@pytest.mark.timeout(20)
async def test_a_server_that_asks_for_endless_scram_work_is_refused() -> None:
    gone = asyncio.Event()
    _GONE.set(gone)
    async with await asyncio.start_server(_greedy, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(asyncpg.InternalClientError, match="SCRAM iterations"):
            await asyncpg.connect(f"postgresql://u:p@127.0.0.1:{port}/d?sslmode=disable", timeout=5)
        await asyncio.wait_for(gone.wait(), 5)


@pytest.mark.timeout(20)
async def test_a_silent_first_host_is_passed_in_its_own_time() -> None:
    gone = asyncio.Event()
    _GONE.set(gone)
    reached = asyncio.Event()

    async def second(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.set()
        writer.close()
        await writer.wait_closed()

    async with (
        await asyncio.start_server(_silent, "127.0.0.1", 0) as one,
        await asyncio.start_server(second, "127.0.0.1", 0) as two,
    ):
        ports = ",".join(str(peer.sockets[0].getsockname()[1]) for peer in (one, two))
        dsn = f"host=127.0.0.1,127.0.0.1 port={ports} user=u dbname=d connect_timeout=1"
        database = connect.Database(DatabaseConfig(name="a", dsn=dsn + " sslmode=disable"))
        with pytest.raises(DatabaseUnreachableError, match="no answer within 1 s"):
            await database.connect()
        assert reached.is_set()
        await asyncio.wait_for(gone.wait(), 5)


@pytest.mark.parametrize(
    "dsn", ["postgresql://u:pa?SECRET@h/db", "postgresql://u@h/d?password=pa&SECRET"]
)
def test_the_rest_of_a_password_is_not_told(dsn: str) -> None:
    assert "SECRET" not in (check_dsn(dsn) or "")


def test_a_password_under_an_encoded_name_is_hidden() -> None:
    assert "SECRET" not in hide_password("postgresql://u@h/d?pass%77ord=SECRET")
