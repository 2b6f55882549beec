"""The control socket as another program uses it: raw lines."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.daemon.process import PATIENCE, DaemonProcess


def socket_of(daemon: DaemonProcess) -> Path:
    return daemon.state / "control.sock"


def opened(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(PATIENCE)
    connection.connect(str(path))
    return connection


def exchanged(path: Path, content: bytes, *, ends: bool) -> bytes:
    """Send bytes on a connection of their own, and return what comes back."""
    with opened(path) as connection, connection.makefile("rb") as stream:
        with suppress(BrokenPipeError):  # refused before it was sent
            connection.sendall(content)
            if ends:
                connection.shutdown(socket.SHUT_WR)
        return stream.read() if ends else stream.readline()


async def sent(path: Path, content: bytes, *, ends: bool = False) -> Any:
    """Return the answer to bytes; None without one."""
    found = await asyncio.to_thread(exchanged, path, content, ends=ends)
    return json.loads(found) if found else None


async def request(path: Path, kind: str, **fields: str) -> Any:
    return await sent(path, json.dumps({"version": 1, "request": kind, **fields}).encode() + b"\n")
