"""Runs the real command as a process."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeperd.host.clock import SystemClock
from sweeperd.sweep.guards.decide import GUARD_KEYS
from sweeperd.sweep.guards.hold_file import Hold, Holds
from tests.conftest import TestDatabase

SWEEPERD = (sys.executable, "-m", "sweeperd")


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def reports(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.out)
        return found


async def start(*args: str, **environ: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *SWEEPERD,
        *args,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "STATE_DIRECTORY": "/nonexistent", "COLUMNS": "200", **environ},
    )


async def result_of(process: asyncio.subprocess.Process) -> Result:
    out, err = await process.communicate()
    result = Result(process.returncode or 0, out.decode(), err.decode())
    assert "Traceback" not in result.err + result.out
    return result


async def sweeperd(*args: str, **environ: str) -> Result:
    return await result_of(await start(*args, **environ))


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
