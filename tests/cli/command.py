"""Runs the real command as a process."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import fcntl
import hashlib
import json
import os
import pty
import shutil
import signal
import struct
import sys
import tempfile
import termios
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeperd.host.clock import SystemClock
from sweeperd.sweep.guards.decide import GUARD_KEYS
from sweeperd.sweep.guards.hold_file import Hold, Holds
from tests.conftest import TestDatabase

_STATES = Path(tempfile.mkdtemp(prefix="sweeperd-states-"))
atexit.register(shutil.rmtree, _STATES, ignore_errors=True)
SWEEPERD = (sys.executable, "-m", "sweeperd")
# undoes what a shell does to its background jobs: they ignore SIGINT, and so do theirs
CTRL_C = ("env", "--default-signal=INT")


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def reports(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.out)
        return found


def state_of_this_test() -> str:
    """Return a state directory that does not exist until a command of this test makes it."""
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
    return str(_STATES / hashlib.sha256(test.encode()).hexdigest()[:16])


async def start(*args: str, **environ: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *SWEEPERD,
        *args,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "STATE_DIRECTORY": state_of_this_test(), "COLUMNS": "200", **environ},
    )


async def result_of(process: asyncio.subprocess.Process) -> Result:
    out, err = await process.communicate()
    result = Result(process.returncode or 0, out.decode(), err.decode())
    assert "Traceback" not in result.err + result.out
    return result


async def sweeperd(*args: str, **environ: str) -> Result:
    return await result_of(await start(*args, **environ))


async def on_a_terminal(
    *args: str, state: str, columns: int = 0, until: str = "", **environ: str
) -> str:
    """Run it on a terminal and return what that shows.

    Args:
        args: Of the command.
        state: The state directory.
        columns: How wide the terminal is; 0 for unknown.
        until: Send Ctrl-C once this is shown.
        environ: Further variables.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 50 if columns else 0, columns, 0, 0))
    # what shapes the test runner's own output is not this terminal's
    shaping = {"COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"}
    unshaped = {key: value for key, value in os.environ.items() if key not in shaping}
    process = await asyncio.create_subprocess_exec(
        *(*CTRL_C, *SWEEPERD, *args), stdout=theirs, stderr=theirs, stdin=theirs,
        env={**unshaped, "STATE_DIRECTORY": state, "TERM": "xterm-256color", **environ},
    )  # fmt: skip
    os.close(theirs)
    told = bytearray()

    def read() -> None:
        is_awaited = bool(until)
        with contextlib.suppress(OSError):  # the other side is closed
            while piece := os.read(ours, 65536):
                told.extend(piece)
                if is_awaited and until in told.decode(errors="replace"):
                    process.send_signal(signal.SIGINT)
                    is_awaited = False

    await asyncio.to_thread(read)
    await process.wait()
    os.close(ours)
    return told.decode()


def sweep_table(name: str = "s", table: str = "t", **keys: str | int) -> str:
    given = {"table": table, "column": "expires_at", "keep": "0s"} | keys
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in given.items())
    return f"[sweeps.{name}]\n{lines}"


def configured(directory: Path, database: TestDatabase, *sweeps: str, dsn: str = "") -> str:
    """Write a configuration; return the option that names it."""
    path = directory / "sweeperd.toml"
    text = f"[databases.app]\ndsn = {json.dumps(dsn or database.dsn)}\n"
    path.write_text(text + "".join(sweeps or (sweep_table(),)))
    return f"--config={path}"


def pass_guards(state: Path, name: str = "s") -> None:
    """Let the next run of a sweep pass its guards, as `sweeperd release` does after a hold."""
    holds = Holds(state, SystemClock().now)
    holds.place(Hold(name, "test", by="guard", kinds=tuple(GUARD_KEYS)))
    holds.release(name, "test")
