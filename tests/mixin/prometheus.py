"""A real Prometheus that scrapes one address, with the alerts of the mixin."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any, Self
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import urlopen

from tests.daemon.process import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
ALERTS = ROOT / "etc" / "prometheus" / "alerts.yml"
DASHBOARD = ROOT / "etc" / "grafana" / "sweeperd.json"


def promtool(*args: str, given: str | None = None) -> str:
    """Run promtool and return what it says; it must find no fault."""
    done = subprocess.run(
        ["promtool", *args], input=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


class Prometheus:
    def __init__(self, directory: Path, port: int, target: str) -> None:
        self._directory, self._address, self._target = directory, f"127.0.0.1:{port}", target

    async def __aenter__(self) -> Self:
        settings = {
            "global": {"scrape_interval": "200ms", "evaluation_interval": "200ms"},
            "rule_files": [str(ALERTS)],
            "scrape_configs": [
                {"job_name": "sweeperd", "static_configs": [{"targets": [self._target]}]}
            ],
        }
        config = self._directory / "prometheus.yml"
        config.write_text(json.dumps(settings))  # JSON is YAML, too
        self._process = await asyncio.create_subprocess_exec(
            *("prometheus", f"--config.file={config}"),
            f"--storage.tsdb.path={self._directory / 'tsdb'}",
            f"--web.listen-address={self._address}",
            stderr=asyncio.subprocess.DEVNULL,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self._process.kill()
        await self._process.wait()

    async def get(self, path: str) -> Any:
        """Return the data of an answer of its API."""

        def ask() -> Any:
            with urlopen(f"http://{self._address}/api/v1/{path}", timeout=PATIENCE) as answer:
                return json.load(answer)["data"]

        return await asyncio.to_thread(ask)

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """Return what an expression yields."""
        found: list[dict[str, Any]] = (await self.get(f"query?query={quote(expression)}"))["result"]
        return found

    async def until(self, expression: str) -> list[dict[str, Any]]:
        """Wait until an expression yields something."""
        assert self._process.returncode is None
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    if found := await self.query(expression):
                        return found
                except (URLError, ConnectionError):
                    pass  # it is starting
                await asyncio.sleep(0.1)
