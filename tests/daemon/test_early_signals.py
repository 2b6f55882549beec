"""A signal of the first instant is neither lost nor deadly."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import start
from tests.daemon.process import PATIENCE, NotifySocket

CONFIG = (
    '[databases.a]\ndsn = "postgresql://u@127.0.0.1:1/d"\n'
    '[sweeps.s]\ntable = "t"\ncolumn = "c"\nkeep = "1d"\n'
)


@pytest.fixture
def notify() -> Iterator[NotifySocket]:
    socket = NotifySocket()
    yield socket
    socket.close()


def is_holding(pid: int) -> bool:
    """Tell whether our first line has run: SIGHUP is blocked."""
    status = Path(f"/proc/{pid}/status").read_text()
    blocked = next(line.split()[1] for line in status.splitlines() if line.startswith("SigBlk"))
    return bool(int(blocked, 16) & 1 << (signal.SIGHUP - 1))


async def holding(directory: Path, notify: NotifySocket | None) -> asyncio.subprocess.Process:
    path = directory / "sweeperd.toml"
    path.write_text(CONFIG)
    daemon = await start(
        "run", f"--config={path}", STATE_DIRECTORY=str(directory / "state"),
        NOTIFY_SOCKET=notify.path if notify else "",
    )  # fmt: skip
    async with asyncio.timeout(PATIENCE):
        while not is_holding(daemon.pid):
            assert daemon.returncode is None
            await asyncio.sleep(0)
    return daemon


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_at_the_first_instant_ends_cleanly(
    tmp_path: Path, notify: NotifySocket, first: signal.Signals
) -> None:
    daemon = await holding(tmp_path, notify)

    daemon.send_signal(first)
    async with asyncio.timeout(PATIENCE):
        _, err = await daemon.communicate()

    assert daemon.returncode == 0
    assert b"Traceback" not in err
    assert b"daemon_stopping" in err


async def test_reloads_at_the_first_instant_become_one_behind_ready(
    tmp_path: Path, notify: NotifySocket
) -> None:
    daemon = await holding(tmp_path, notify)

    for _ in range(3):
        daemon.send_signal(signal.SIGHUP)
    async with asyncio.timeout(PATIENCE):
        while sum("READY=1" in message for message in notify.heard) < 2:
            await notify.next()
    daemon.terminate()
    async with asyncio.timeout(PATIENCE):
        _, err = await daemon.communicate()

    kinds = [message.split("=")[0] for message in notify.heard]
    assert kinds.count("RELOADING") == 1
    assert kinds.index("READY") < kinds.index("RELOADING")
    assert err.count(b'"config_reloaded"') == 1
    assert daemon.returncode == 0


async def test_signals_at_any_moment_of_a_start_and_a_stop_end_cleanly(tmp_path: Path) -> None:
    draw = random.Random(7)
    for number in range(12):
        daemon = await holding(tmp_path, None)
        sending = asyncio.create_task(send_until_gone(daemon, draw))
        async with asyncio.timeout(PATIENCE):
            _, err = await daemon.communicate()
        await sending
        assert daemon.returncode == 0, (number, err)
        assert b"Traceback" not in err


async def send_until_gone(daemon: asyncio.subprocess.Process, draw: random.Random) -> None:
    """Send signals at random moments: hang-ups first, then one stop, then hang-ups again."""
    stop = draw.randint(0, 40)
    for number in range(100_000):
        if daemon.returncode is not None:
            return
        try:
            os.kill(daemon.pid, signal.SIGTERM if number == stop else signal.SIGHUP)
        except ProcessLookupError:
            return
        await asyncio.sleep(draw.random() / 50)
