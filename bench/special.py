"""Rows of the bench that are no plain ratio."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

from bench.cases import table
from bench.peers import Measured, held_snapshot, one_delete, sweeperd
from bench.traffic import Latency, pgbench
from bench.world import World
from sweeperd.host.clock import SystemClock
from sweeperd.sweep.guards.decide import GUARD_KEYS
from sweeperd.sweep.guards.hold_file import Hold, Holds

Outcome = tuple[str, str, bool, dict[str, Any]]
Special = Callable[[int], Awaitable[Outcome]]

STEADY = table(
    5_000_000,
    0.0,
    extra="UPDATE t SET expires_at = now() - interval '1 hour' WHERE id % 5000 = 0;;",
)
RENEW = """
\\set id random(1, 2000000)
SELECT data FROM t WHERE id = :id;
UPDATE t SET expires_at = now() + interval '1 day' WHERE id = :id AND expires_at > now();
"""
HOT = (
    "CREATE TABLE t AS SELECT g AS id, repeat('x', 900) AS pad, now() + (random() - 0.02) * "
    "interval '100 days' AS expires_at FROM generate_series(1, 1050000) g;;"
    "CREATE TABLE hot AS SELECT g AS id, repeat('y', 400) AS pad "
    "FROM generate_series(1, 150000) g;;"
    "ALTER TABLE hot ADD PRIMARY KEY (id);; CREATE EXTENSION pg_buffercache;;"
)
READ_HOT = "\\set id random(1, 150000)\nSELECT pad FROM hot WHERE id = :id;\n"
RESIDENT = (
    "SELECT count(*)::float8 / (pg_relation_size('hot') / 8192) FROM pg_buffercache "
    "WHERE relfilenode = pg_relation_filenode('hot') AND reldatabase = "
    "(SELECT oid FROM pg_database WHERE datname = current_database())"
)
TOUCHED = (
    "SELECT heap_blks_read + heap_blks_hit + idx_blks_read + idx_blks_hit "
    "FROM pg_statio_user_tables WHERE relname = 't'"
)


@asynccontextmanager
async def world(settings: dict[str, str] | None = None) -> AsyncIterator[World]:
    """Give a server of this row's own."""
    made = World(settings)
    made.start()
    try:
        yield made
    finally:
        made.stop()


async def snapshot_scale(pairs: int) -> Outcome:
    """Rows/s at 4 M rows beside 1 M, both under an old snapshot."""
    rates: dict[int, list[float]] = {1: [], 4: []}
    async with world() as made:
        templates = {size: await made.prepare(table(size * 1_000_000, 0.9)) for size in rates}
        for _ in range(max(pairs // 2, 1)):
            for size, template in templates.items():
                async with made.copy(template) as dsn, held_snapshot(dsn, held=True):
                    rates[size].append((await sweeperd(dsn)).rate)
    small, large = (statistics.median(rates[size]) for size in (1, 4))
    ratio = large / small
    text = f"{ratio:.2f} ({large:,.0f} rows/s at 4 M, {small:,.0f} at 1 M)"
    return text, "within 0.20 of 1, or faster", ratio >= 0.8, {"rates": rates}


async def steady_state(pairs: int) -> Outcome:
    """1,000 expired among 5 M live rows, found by the index."""
    seconds: dict[str, list[float]] = {"sweep": [], "delete": []}
    pages = 0
    async with world() as made:
        template = await made.prepare(STEADY)
        for _ in range(pairs):
            for name, run in (("delete", one_delete), ("sweep", sweeperd)):
                async with made.copy(template) as dsn:
                    measured: Measured = await run(dsn)
                    seconds[name].append(measured.seconds)
                    if name == "sweep":
                        pages = await _touched(dsn)
    sweep, delete = (statistics.median(seconds[name]) for name in ("sweep", "delete"))
    reached = sweep <= 2 * delete + 0.05 and pages < 30_000
    text = f"{sweep * 1000:.0f} ms, one DELETE {delete * 1000:.0f} ms; {pages:,} pages touched"
    must = "2 x one DELETE + 50 ms, pages as expired rows"
    return text, must, reached, {"seconds": seconds, "pages": pages}


async def _touched(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("SELECT pg_stat_clear_snapshot()")
        for _ in range(50):  # statistics arrive a little later
            found = await connection.fetchval(TOUCHED)
            if found:
                return int(found)
            await asyncio.sleep(0.1)
        return 0
    finally:
        await connection.close()


async def _beside(
    made: World, template: str, script: str, run: Callable[[str], Awaitable[Measured]]
) -> tuple[Latency, Measured, float]:
    """Run a peer while pgbench works on the same database."""
    async with made.copy(template) as dsn:
        connection = await asyncpg.connect(dsn)
        ended = asyncio.Event()
        clients = asyncio.create_task(pgbench(made, dsn, script, ended))
        await asyncio.sleep(3)  # the clients are in their stride
        measured = await run(dsn)
        share = 0.0
        if "hot" in script:
            share = await connection.fetchval(RESIDENT)
        await connection.close()
        await asyncio.sleep(max(2.0 - measured.seconds, 0.0))
        ended.set()
        return await clients, measured, share


async def same_table(pairs: int) -> Outcome:
    """Point reads and renewals on the swept table."""
    ratios, sweeps, deletes = [], [], []
    async with world() as made:
        template = await made.prepare(table(2_000_000, 0.5))
        for _ in range(max(pairs // 2, 1)):
            async with made.copy(template) as dsn:
                idle = await pgbench(made, dsn, RENEW, None)
            async with made.copy(template) as dsn:
                alone = await sweeperd(dsn)
            busy, swept, _ = await _beside(made, template, RENEW, sweeperd)
            hurt, deleted, _ = await _beside(made, template, RENEW, one_delete)
            ratios.append((busy.p99 / idle.p99, swept.rate / alone.rate, hurt.p99 / idle.p99))
            sweeps.append((idle, busy))
            deletes.append(deleted.rate)
    p99, rate, single = (statistics.median(column) for column in zip(*ratios, strict=True))
    text = (
        f"p99 x {p99:.2f} ({sweeps[0][0].p99:.2f} ms idle, {sweeps[0][1].p99:.2f} ms beside), "
        f"sweep at {rate:.2f} of its idle rate; beside one DELETE p99 x {single:.2f}"
    )
    return text, "p99 x 1.5, rate 0.5", p99 <= 1.5 and rate >= 0.5, {"ratios": ratios}


async def hot_table(pairs: int) -> Outcome:
    """A 1 GB table without index, 2 % expired, beside a hot one; 160 MB of shared buffers."""
    ratios = []
    async with world({"shared_buffers": "160MB"}) as made:
        template = await made.prepare(HOT)
        for _ in range(max(pairs // 3, 1)):
            async with made.copy(template) as dsn:
                idle = await pgbench(made, dsn, READ_HOT, None)
            busy, swept, share = await _beside(made, template, READ_HOT, sweeperd)
            hurt, _, left = await _beside(made, template, READ_HOT, one_delete)
            ratios.append((busy.p99 / idle.p99, hurt.p99 / idle.p99, share, left, swept.seconds))
    p99, single, share, left, took = (
        statistics.median(column) for column in zip(*ratios, strict=True)
    )
    text = (
        f"p99 x {p99:.2f}, hot table {share:.0%} resident, sweep {took:.0f} s; "
        f"one DELETE: p99 x {single:.2f}, {left:.0%} resident"
    )
    return text, "p99 x 1.5", p99 <= 1.5, {"ratios": ratios}


async def memory(pairs: int) -> Outcome:  # noqa: ARG001 - measured once, it does not vary
    """Resident memory of the command at 0.1 M and at 10 M rows."""
    sizes: dict[float, int] = {}
    async with world() as made:
        for millions in (0.1, 10.0):
            template = await made.prepare(table(int(millions * 1e6), 0.5, index=False))
            async with made.copy(template) as dsn:
                sizes[millions] = await _resident(dsn)
            await made.forget()
    growth = (sizes[10.0] - sizes[0.1]) / 2**20
    text = f"{growth:.1f} MB more at 10 M rows than at 0.1 M ({sizes[0.1] / 2**20:.0f} MB)"
    return text, "less than 5 MB", growth < 5, {"bytes": sizes}


async def _resident(dsn: str) -> int:
    with tempfile.TemporaryDirectory(prefix="swp-") as directory:
        config, state = Path(directory, "sweeperd.toml"), Path(directory, "state")
        # a first run passes its guards, as after `sweeperd release`
        holds = Holds(state, SystemClock().now)
        holds.place(Hold("s", "a first run", kinds=tuple(GUARD_KEYS)))
        holds.release("s", "bench")
        config.write_text(
            f"[daemon]\nstate_dir = {json.dumps(str(state))}\n"
            f"[databases.app]\ndsn = {json.dumps(dsn)}\n[sweeps.s]\ntable = 't'\n"
            "column = 'expires_at'\nkeep = '0s'\ntimeout = '1h'\n"
        )
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sweeperd", "sweep", "--config", str(config)),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        most = 0
        status = Path(f"/proc/{process.pid}/status")
        while process.returncode is None:
            for line in status.read_text().splitlines() if status.exists() else ():
                if line.startswith("VmHWM"):
                    most = max(most, int(line.split()[1]) * 1024)
            await asyncio.sleep(0.02)
        if process.returncode != 0:
            raise RuntimeError("the sweep failed")
        return most


SPECIAL: dict[str, Special] = {
    "old snapshot: 4 M rows beside 1 M": snapshot_scale,
    "steady state: 1,000 expired of 5 M, index": steady_state,
    "pgbench on the same table": same_table,
    "1 GB without index beside a hot table": hot_table,
    "memory of the process": memory,
}
