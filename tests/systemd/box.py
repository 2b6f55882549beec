"""A throw-away machine with a real systemd: the unit, a virtualenv, a configuration."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from sweeperd.demo.server import Server
from tests.parts import SHARED

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0
DROP_IN = """
[Service]
ExecStart=
ExecStart=/opt/sweeperd/bin/python -m sweeperd run
WatchdogSec=2
RestartSec=100ms
"""


def python_outside_homes() -> str | None:
    """Return a Python of this version that a service may run (ProtectHome= hides the others)."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for directory in ("/usr/bin", "/usr/local/bin"):
        if Path(directory, version).exists():
            return f"{directory}/{version}"
    return None


class Box:
    def __init__(self, server: Server) -> None:
        self.name = f"sweeperd-{os.getpid()}"
        self.server = server

    def _run(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(SHARED / "systemd-box"), "-n", self.name, *args],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert not check or done.returncode == 0, (args, done.stdout, done.stderr)
        return done

    def up(self) -> None:
        site = next(Path(entry) for entry in sys.path if entry.endswith("site-packages"))
        self._run(
            "up",
            *("--bind", str(self.server.directory)),
            *("--bind-ro", f"{site}:/opt/site"),
            *("--bind-ro", f"{ROOT / 'sweeperd'}:/opt/source/sweeperd"),
            *("--bind-ro", f"{ROOT / 'systemd'}:/opt/units"),
        )
        self.shell(
            f"{python_outside_homes()} -m venv --without-pip /opt/sweeperd",
            "printf '/opt/source\\n/opt/site\\n' "
            "> $(echo /opt/sweeperd/lib/python*/site-packages)/box.pth",
            "cp /opt/units/sweeperd.service /etc/systemd/system/",
            "systemd-sysusers /opt/units/sweeperd.sysusers",
            "mkdir -p /etc/sweeperd /etc/systemd/system/sweeperd.service.d",
        )
        self.write("/etc/systemd/system/sweeperd.service.d/box.conf", DROP_IN)
        self.shell("systemctl daemon-reload")

    def down(self) -> None:
        self._run("down")

    def shell(self, *commands: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self._run("exec", "--", "sh", "-ec", "\n".join(commands), check=check)

    def write(self, path: str, text: str) -> None:
        done = subprocess.run(
            [str(SHARED / "systemd-box"), "-n", self.name, "exec", "--", "tee", path],
            input=text,
            text=True,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def configure(self, sweeps: str) -> None:
        dsn = json.dumps(self.server.dsn())
        self.write("/etc/sweeperd/sweeperd.toml", f"[databases.app]\ndsn = {dsn}\n{sweeps}")

    def show(self, prop: str) -> str:
        return self.shell(f"systemctl show -P {prop} sweeperd").stdout.strip()

    async def journal(self, *matches: str, until: Any = lambda _: True) -> dict[str, Any]:
        """Follow the unit's journal from its start until an entry satisfies."""
        process = await asyncio.create_subprocess_exec(
            *(str(SHARED / "systemd-box"), "-n", self.name, "exec", "--"),
            *("journalctl", "-u", "sweeperd", "-o", "json", "-n", "all", "-f", *matches),
            stdout=asyncio.subprocess.PIPE,
            limit=2**20,
            start_new_session=True,
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(PATIENCE):
                async for line in process.stdout:
                    entry: dict[str, Any] = json.loads(line)
                    if until(entry):
                        return entry
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # journalctl too, which holds the pipe
            await process.wait()
        raise AssertionError("the journal ended")
