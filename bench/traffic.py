"""pgbench beside a sweep: latencies of an application that uses the same table."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.world import World

SECONDS = 12


@dataclass(frozen=True)
class Latency:
    """Latencies of all transactions, milliseconds."""

    p50: float
    p99: float
    tps: float


async def pgbench(world: World, dsn: str, script: str, until: asyncio.Event | None) -> Latency:
    """Run two clients with that script for some seconds, or until the event."""
    with tempfile.TemporaryDirectory(prefix="swp-", dir="/tmp") as directory:
        path = Path(directory)
        path.chmod(0o777)
        (path / "script").write_text(script)
        seconds = SECONDS if until is None else 600
        process = await asyncio.create_subprocess_exec(
            f"{world.bin}/pgbench",
            *("-n", "-c", "2", "-j", "1", "-M", "prepared", "-T", str(seconds), "-l"),
            *("-f", str(path / "script"), "--log-prefix", str(path / "log"), dsn),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        if until is not None:
            await until.wait()
            process.terminate()
        await process.wait()
        lines = [line for log in path.glob("log*") for line in log.read_text().splitlines()]
    rows = [line.split() for line in lines if len(line.split()) >= 6]
    taken = sorted(int(row[2]) / 1000 for row in rows)
    starts = [int(row[4]) + int(row[5]) / 1e6 for row in rows]
    span = max(starts) - min(starts)
    return Latency(taken[len(taken) // 2], taken[int(len(taken) * 0.99)], len(taken) / span)
