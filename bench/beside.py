"""Rows of the bench in which clients work on the database that is swept."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import asyncpg

from bench.cases import expiry, table
from bench.peers import Measured, one_delete, sweeperd
from bench.row import Row, Size, median
from bench.traffic import clients, undisturbed
from bench.world import World, world

Peer = Callable[[str], Awaitable[Measured]]

RESIDENT = (
    "SELECT count(*)::float8 / (pg_relation_size('hot') / 8192) FROM pg_buffercache "
    "WHERE relfilenode = pg_relation_filenode('hot') AND reldatabase = "
    "(SELECT oid FROM pg_database WHERE datname = current_database())"
)


@dataclass(frozen=True)
class Beside:
    """A peer's run beside clients.

    Attributes:
        measured: The peer.
        p99: The clients' while it ran, milliseconds.
        share: Of the hot table that was in shared buffers afterwards.
    """

    measured: Measured
    p99: float
    share: float = 0.0


async def _beside(
    made: World, template: str, script: str, peer: Peer, rate: float | None = None
) -> Beside:
    """Run a peer while clients work; only what they did meanwhile counts."""
    share = 0.0
    async with made.copy(template) as dsn:
        async with clients(made, dsn, script, rate) as found:
            begun = time.time()
            measured = await peer(dsn)
            ended = time.time()
            if "hot" in script:
                connection = await asyncpg.connect(dsn)
                share = await connection.fetchval(RESIDENT)
                await connection.close()
        return Beside(measured, found.p99(begun, ended), share)


async def same_table(size: Size) -> Row:
    """Point reads and renewals on the swept table, at half of what the clients could do."""
    rows = size.rows(4_000_000)
    script = (
        f"\\set id random(1, {rows})\nSELECT data FROM t WHERE id = :id;\n"
        "UPDATE t SET expires_at = now() + interval '1 day' WHERE id = :id "
        "AND expires_at > now();\n"
    )
    idle, alone, swept, deleted = [], [], [], []
    async with world() as made:
        template = await made.prepare(table(rows, 0.5))
        async with made.copy(template) as dsn:
            _, saturated = await undisturbed(made, dsn, script, size.seconds)
        rate = saturated / 2
        for _ in range(size.pairs):
            async with made.copy(template) as dsn:
                idle.append((await undisturbed(made, dsn, script, size.seconds, rate))[0])
            async with made.copy(template) as dsn:
                alone.append((await sweeperd(dsn)).rate)
            swept.append(await _beside(made, template, script, sweeperd, rate))
            deleted.append(await _beside(made, template, script, one_delete, rate))
    calm = median(idle)
    hurt = median(beside.p99 / before for beside, before in zip(swept, idle, strict=True))
    single = median(beside.p99 / before for beside, before in zip(deleted, idle, strict=True))
    of_alone = median(
        beside.measured.rate / speed for beside, speed in zip(swept, alone, strict=True)
    )
    of_delete = median(
        ours.measured.rate / its.measured.rate for ours, its in zip(swept, deleted, strict=True)
    )
    note = (
        f"{rate:,.0f} transactions/s, p99 {calm:.2f} ms undisturbed, "
        f"{median(one.p99 for one in swept):.2f} ms beside the sweep; one DELETE p99 x "
        f"{single:.2f}; the sweep at {of_delete:.2f} of one DELETE beside the same clients"
    )
    wrong = sorted({one.measured.note for one in swept} - {""})
    details: dict[str, object] = {
        "p99_idle_ms": idle,
        "p99_sweep_ms": [one.p99 for one in swept],
        "p99_delete_ms": [one.p99 for one in deleted],
        "rate_alone": alone,
        "rate_sweep": [one.measured.rate for one in swept],
        "rate_delete": [one.measured.rate for one in deleted],
    }
    return Row(
        f"p99 x {hurt:.2f}, speed {of_alone:.2f}",
        "p99 x 1.2, 0.9 of its speed alone",
        hurt <= 1.2 and of_alone >= 0.9 and not wrong,
        "; ".join([note, *wrong]),
        details,
    )


async def hot_table(size: Size) -> Row:
    """A 1 GB table without index, 2 % expired, beside a hot one; 160 MB of shared buffers."""
    hot = size.rows(150_000)
    sql = (
        f"CREATE TABLE t AS SELECT g AS id, repeat('x', 900) AS pad, {expiry(0.02)} AS expires_at "
        f"FROM generate_series(1, {size.rows(1_050_000)}) g;;"
        "CREATE TABLE hot AS SELECT g AS id, repeat('y', 400) AS pad "
        f"FROM generate_series(1, {hot}) g;;"
        "ALTER TABLE hot ADD PRIMARY KEY (id);; CREATE EXTENSION pg_buffercache;;"
    )
    script = f"\\set id random(1, {hot})\nSELECT pad FROM hot WHERE id = :id;\n"
    idle, swept, deleted = [], [], []
    async with world({"shared_buffers": f"{max(int(160 * size.share), 16)}MB"}) as made:
        template = await made.prepare(sql)
        for _ in range(min(size.pairs, 3)):  # a paced sweep takes a minute
            async with made.copy(template) as dsn:
                idle.append((await undisturbed(made, dsn, script, size.seconds))[0])
            swept.append(await _beside(made, template, script, sweeperd))
            deleted.append(await _beside(made, template, script, one_delete))
    hurt = median(beside.p99 / before for beside, before in zip(swept, idle, strict=True))
    single = median(beside.p99 / before for beside, before in zip(deleted, idle, strict=True))
    note = (
        f"hot table {median(one.share for one in swept):.0%} resident, sweep "
        f"{median(one.measured.seconds for one in swept):.0f} s; one DELETE: p99 x {single:.2f}, "
        f"{median(one.share for one in deleted):.0%} resident"
    )
    details: dict[str, object] = {
        "p99_idle_ms": idle,
        "p99_sweep_ms": [one.p99 for one in swept],
        "p99_delete_ms": [one.p99 for one in deleted],
    }
    return Row(f"p99 x {hurt:.2f}", "p99 x 1.5", hurt <= 1.5, note, details)
