"""A throw-away machine with a real systemd, on which the Debian package is installed."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from tests.parts import SHARED

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0
# what a test waits for comes sooner
DROP_IN = """
[Service]
WatchdogSec=3
RestartSec=100ms
"""
DSN = "postgresql://sweeperd@/app?host=/run/postgresql"


@cache
def package() -> Path:
    """Build the package of this tree, unless it is there already; one worker at a time."""
    with (ROOT / "packaging" / "build-deb").open() as script:
        fcntl.flock(script, fcntl.LOCK_EX)
        done = subprocess.run([script.name], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return ROOT / done.stdout.split()[-1]


class Box:
    def __init__(self, name: str) -> None:
        self.name = f"sweeperd-{name}-{os.getpid()}"

    def _run(
        self, *args: str, check: bool = True, given: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(SHARED / "systemd-box"), "-n", self.name, *args],
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert not check or done.returncode == 0, (args, done.stdout, done.stderr)
        return done

    def up(self, *more: tuple[str, str]) -> None:
        copied = ("--copy", f"{package()}:/root/{package().name}")
        self._run("up", *copied, *(part for option in more for part in option))
        # a machine on which nobody has installed sweeperd by hand
        assert self.shell("command -v sweeperd", check=False).returncode != 0

    def down(self) -> None:
        self._run("down")

    def shell(self, *commands: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self._run("exec", "--", "sh", "-ec", "\n".join(commands), check=check)

    def start_postgres(self) -> None:
        self.shell(
            "pg_createcluster 15 box -p 5432 --locale C.UTF-8 -- -N >/dev/null",
            "cd /var/lib/postgresql/15/box",
            "openssl req -new -x509 -nodes -subj /CN=localhost -out server.crt -keyout server.key"
            " 2>/dev/null",
            "chown postgres: server.*",
            "chmod 0600 server.key",
            "printf 'fsync = off\\nssl = on\\n' >> postgresql.auto.conf",
            "systemctl start postgresql@15-box",
        )
        self.sql("CREATE ROLE sweeperd LOGIN", database="postgres")
        self.sql("CREATE DATABASE app", database="postgres")

    def sql(self, text: str, *, database: str = "app") -> str:
        args = f"psql -XAtq -v ON_ERROR_STOP=1 -p 5432 -d {database}"
        done = self._run("exec", "--", "runuser", "-u", "postgres", "--", *args.split(), given=text)
        return done.stdout.strip()

    def install(self) -> None:
        self.shell(f"dpkg -i /root/{package().name}")

    def quicken(self) -> None:
        """Let the watchdog and a restart come within seconds."""
        self.shell("mkdir -p /etc/systemd/system/sweeperd.service.d")
        self.write("/etc/systemd/system/sweeperd.service.d/quick.conf", DROP_IN)
        self.shell("systemctl daemon-reload")

    def write(self, path: str, text: str) -> None:
        """Replace a file's content; owner and mode stay."""
        self._run("exec", "--", "tee", path, given=text)

    def configure(self, *sweeps: str, dsn: str = DSN, more: str = "") -> None:
        text = f"[databases.app]\ndsn = {json.dumps(dsn)}\n{more}\n"
        self.write("/etc/sweeperd/sweeperd.toml", text + "\n".join(sweeps))

    def show(self, prop: str) -> str:
        return self.shell(f"systemctl show -P {prop} sweeperd").stdout.strip()

    async def journal(
        self, *matches: str, until: Callable[[dict[str, Any]], bool] = lambda _: True
    ) -> dict[str, Any]:
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
