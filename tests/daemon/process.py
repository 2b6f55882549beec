"""The real daemon as a process, with a captured notify socket and its log as events."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from sweeperd.daemon.state.found import read_records
from sweeperd.daemon.state.record import SweepRecord

PATIENCE = 40.0  # seconds until a test gives up


class NotifySocket:
    """What systemd would hear (sd_notify(3))."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="swp-", dir="/tmp")
        self.path = str(Path(self._directory.name) / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.setblocking(False)
        self.heard: list[str] = []

    async def next(self) -> str:
        message = (await asyncio.get_running_loop().sock_recv(self._socket, 65536)).decode()
        self.heard.append(message)
        return message

    async def until(self, *words: str) -> str:
        """Wait for a message that holds all the words."""
        async with asyncio.timeout(PATIENCE):
            while True:
                message = await self.next()
                if all(word in message for word in words):
                    return message

    def drain(self) -> list[str]:
        """Return what has come and was not read yet."""
        found = []
        while True:
            try:
                found.append(self._socket.recv(65536).decode())
            except BlockingIOError:
                return found

    def close(self) -> None:
        self._socket.close()
        self._directory.cleanup()


class DaemonProcess:
    """`sweeperd run` with a configuration and a state directory of its own."""

    def __init__(self, directory: Path, dsn: str, sweeps: str, **environ: str) -> None:
        self.directory = directory
        self.dsn = dsn
        self.state = directory / "state"
        self.state.mkdir(exist_ok=True)
        self.events: list[dict[str, Any]] = []
        self.notify = NotifySocket()
        self._news = asyncio.Condition()
        self._environ = environ
        self.write(sweeps)

    def write(self, sweeps: str, daemon: str = "") -> None:
        text = f"[daemon]\n{daemon}\n[databases.app]\ndsn = {json.dumps(self.dsn)}\n{sweeps}"
        (self.directory / "sweeperd.toml").write_text(text)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._reader
        self.notify.close()

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sweeperd", "run"),
            f"--config={self.directory}/sweeperd.toml",
            stderr=asyncio.subprocess.PIPE,
            env={
                **os.environ,
                "NOTIFY_SOCKET": self.notify.path,
                "STATE_DIRECTORY": str(self.state),
                **self._environ,
            },
        )
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            assert b"Traceback" not in line, line
            event = json.loads(line) if line.startswith(b"{") else {"event": "", "text": str(line)}
            async with self._news:
                self.events.append(event)
                self._news.notify_all()

    def named(self, name: str, **fields: Any) -> list[dict[str, Any]]:
        return [
            event
            for event in self.events
            if event["event"] == name
            and all(event.get(key) == value for key, value in fields.items())
        ]

    async def event(self, name: str, *, count: int = 1, **fields: Any) -> dict[str, Any]:
        """Wait for the count-th event of that name and those fields."""
        await self.when(lambda: len(self.named(name, **fields)) >= count, name)
        return self.named(name, **fields)[count - 1]

    async def when(self, true: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE), self._news:
                await self._news.wait_for(true)
        except TimeoutError:
            raise AssertionError(f"no {what}; there was {self.events}") from None

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.send(number)
        async with asyncio.timeout(PATIENCE):
            code = await self.process.wait()
        await self._reader
        return code

    def saved(self) -> dict[str, SweepRecord]:
        return read_records(self.state).records
