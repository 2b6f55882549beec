"""pgbench beside a sweep: latencies of an application that uses the same table."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.row import percentile
from bench.world import World

_FIELDS = 6  # client, transaction, microseconds, script, epoch, its microseconds
_STRIDE = 2.0  # seconds after which the clients have their caches and plans
_FLUSHED = 2.0  # seconds after which what was measured is in pgbench's log


@dataclass
class Clients:
    """pgbench's transactions, once it has ended.

    Attributes:
        transactions: When each ended, epoch seconds, and what it took, milliseconds; with a rate,
            from when it was due.
    """

    transactions: list[tuple[float, float]] = field(default_factory=list)

    def p99(self, since: float, until: float) -> float:
        """Return the 99th percentile in a span of time, milliseconds."""
        return percentile((ms for at, ms in self.transactions if since <= at <= until), 0.99)

    def rate(self, since: float, until: float) -> float:
        """Return transactions per second in a span of time."""
        return sum(since <= at <= until for at, _ in self.transactions) / (until - since)


@asynccontextmanager
async def clients(
    world: World, dsn: str, script: str, rate: float | None = None
) -> AsyncIterator[Clients]:
    """Let two clients work with that script as long as the block lasts.

    Args:
        world: The server.
        dsn: The database.
        script: pgbench's.
        rate: Transactions per second; as many as possible by default.
    """
    found = Clients()
    with tempfile.TemporaryDirectory(prefix="swp-", dir="/tmp") as directory:
        path = Path(directory)
        (path / "script").write_text(script)
        limit = () if rate is None else ("--rate", f"{rate:.0f}")
        process = await asyncio.create_subprocess_exec(
            f"{world.bin}/pgbench",
            *("-n", "-c", "2", "-j", "1", "-M", "prepared", "-T", "3600", "-l", *limit),
            *("-f", str(path / "script"), "--log-prefix", str(path / "log"), dsn),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await asyncio.sleep(_STRIDE)
            yield found
            await asyncio.sleep(_FLUSHED)
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()
        lines = [line for log in path.glob("log*") for line in log.read_text().splitlines()]
    # its end is cut off in the middle of a line
    fields = [one.split() for one in lines if len(one.split()) >= _FIELDS]
    found.transactions = [
        (int(one[4]) + int(one[5]) / 1e6, int(one[2]) / 1000) for one in fields[:-1]
    ]
    if not found.transactions:
        raise RuntimeError(f"pgbench did nothing on {dsn}")


async def undisturbed(
    world: World, dsn: str, script: str, seconds: float, rate: float | None = None
) -> tuple[float, float]:
    """Let clients work alone; return their p99 in milliseconds and transactions per second."""
    async with clients(world, dsn, script, rate) as found:
        begun = time.time()
        await asyncio.sleep(seconds)
        ended = time.time()
    return found.p99(begun, ended), found.rate(begun, ended)
