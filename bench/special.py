"""Rows of the bench that are measured in seconds, or on two tables."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from bench.cases import table, tree
from bench.link import slow_link
from bench.peers import Measured, held_snapshot, one_delete, sweeperd
from bench.row import Row, Size, median
from bench.world import world

TOUCHED = (
    "SELECT heap_blks_read + heap_blks_hit + idx_blks_read + idx_blks_hit "
    "FROM pg_statio_user_tables WHERE relname = 't'"
)
LOCKED = 312


async def snapshot_scale(size: Size) -> Row:
    """Rows/s at 4 M rows beside 1 M, both under an old snapshot."""
    small: list[float] = []
    large: list[float] = []
    async with world() as made:
        sizes = ((1_000_000, small), (4_000_000, large))
        templates = [
            (await made.prepare(table(size.rows(rows), 0.9)), rates) for rows, rates in sizes
        ]
        for _ in range(size.pairs):
            for template, rates in templates:
                async with made.copy(template) as dsn, held_snapshot(dsn, held=True):
                    rates.append((await sweeperd(dsn)).rate)
    ratio = median(more / less for more, less in zip(large, small, strict=True))
    note = f"{median(large):,.0f} rows/s at 4 M, {median(small):,.0f} at 1 M"
    return Row(f"{ratio:.2f}", "0.9", ratio >= 0.9, note, {"small": small, "large": large})


async def steady_state(size: Size) -> Row:
    """1,000 expired among 5 M live rows, found by the index."""
    rows = size.rows(5_000_000)
    sql = table(
        rows,
        0.0,
        extra="UPDATE t SET expires_at = now() - interval '1 hour' "
        f"WHERE id % {rows // 1000} = 0;;",
    )
    sweeps: list[Measured] = []
    deletes: list[Measured] = []
    pages = 0
    async with world() as made:
        template = await made.prepare(sql)
        for _ in range(size.pairs):
            async with made.copy(template) as dsn:
                deletes.append(await one_delete(dsn))
            async with made.copy(template) as dsn:
                sweeps.append(await sweeperd(dsn))
                pages = await _touched(dsn)
    sweep, delete = (median(one.seconds for one in peer) for peer in (sweeps, deletes))
    wrong = _wrong(sweeps, 1000)
    return Row(
        f"{sweep * 1000:.0f} ms",
        f"{(delete + 0.015) * 1000:.0f} ms (one DELETE + 15)",
        sweep <= delete + 0.015 and not wrong,
        "; ".join([f"one DELETE {delete * 1000:.0f} ms; {pages:,} pages touched", *wrong]),
        _seconds(sweeps, deletes),
    )


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


async def near_link(size: Size) -> Row:
    """20,000 rows, half expired, over a link of 10 ms each way."""
    return await _over_link(size, 0.01, 3.0)


async def far_link(size: Size) -> Row:
    """20,000 rows, half expired, over a link of 40 ms each way."""
    return await _over_link(size, 0.04, 12.0)


async def _over_link(size: Size, delay: float, most: float) -> Row:
    sweeps: list[Measured] = []
    deletes: list[Measured] = []
    async with world() as made:
        template = await made.prepare(table(20_000, 0.5))  # a small table at any size
        for _ in range(size.pairs):
            for run, peer in ((one_delete, deletes), (sweeperd, sweeps)):
                async with (
                    made.copy(template) as dsn,
                    slow_link(dsn, made.socket, delay) as distant,
                ):
                    peer.append(await run(distant))
    sweep, delete = (median(one.seconds for one in peer) for peer in (sweeps, deletes))
    wrong = _wrong(sweeps, deletes[0].rows)
    batches = median(len(one.batches) for one in sweeps)
    note = f"{batches:.0f} batches; one DELETE {delete:.2f} s, connecting included"
    return Row(
        f"{sweep:.2f} s",
        f"{most:.0f} s",
        sweep <= most and not wrong,
        "; ".join([note, *wrong]),
        _seconds(sweeps, deletes),
    )


async def locked_rows(size: Size) -> Row:
    """312 locked rows spread over 1.5 M, half of them expired, beside the same without them."""
    count = max(int(LOCKED * size.share), 12)
    free: list[Measured] = []
    held: list[Measured] = []
    async with world() as made:
        template = await made.prepare(table(size.rows(1_500_000), 0.5))
        for _ in range(size.pairs):
            async with made.copy(template) as dsn:
                free.append(await sweeperd(dsn))
            async with made.copy(template) as dsn, _locked(dsn, count):
                held.append(await sweeperd(dsn))
    ratio = median(ours.seconds / its.seconds for ours, its in zip(held, free, strict=True))
    left = free[0].rows - held[0].rows
    wrong = [] if left == count else [f"{left} rows were left, {count} were locked"]
    note = (
        f"{median(one.seconds for one in held):.2f} s, without locks "
        f"{median(one.seconds for one in free):.2f} s; {held[0].note or 'drained'}"
    )
    return Row(
        f"x {ratio:.2f}",
        "1.5 times the time without",
        ratio <= 1.5 and not wrong,
        "; ".join([note, *wrong]),
        _seconds(held, free),
    )


async def chain(size: Size) -> Row:
    """A chain of 3,000 rows of which each refers to the one before."""
    return await _tree(size, 3_000, "nullif(g - 1, 0)", 1.0)


async def chains(size: Size) -> Row:
    """20,000 rows in chains of 10."""
    return await _tree(size, 20_000, "CASE WHEN g % 10 <> 1 THEN g - 1 END", 3.0)


async def _tree(size: Size, rows: int, parent: str, most: float) -> Row:
    sweeps: list[Measured] = []
    deletes: list[Measured] = []
    async with world() as made:
        template = await made.prepare(tree(rows, parent))  # a small table at any size
        for _ in range(size.pairs):
            for run, peer in ((one_delete, deletes), (sweeperd, sweeps)):
                async with made.copy(template) as dsn:
                    peer.append(await run(dsn))
    sweep, delete = (median(one.seconds for one in peer) for peer in (sweeps, deletes))
    wrong = _wrong(sweeps, rows)
    return Row(
        f"{sweep:.2f} s",
        f"{most:.0f} s",
        sweep <= most and not wrong,
        "; ".join([f"one DELETE {delete:.2f} s", *wrong]),
        _seconds(sweeps, deletes),
    )


@asynccontextmanager
async def _locked(dsn: str, count: int) -> AsyncIterator[None]:
    """Hold locks on that many expired rows, spread over the table."""
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            rows = await connection.fetch(
                "SELECT FROM t WHERE id IN (SELECT id FROM (SELECT id, row_number() OVER "
                "(ORDER BY id) AS n, count(*) OVER () AS of FROM t WHERE expires_at <= now()) x "
                f"WHERE n % (of / {count}) = 0 LIMIT {count}) FOR UPDATE"
            )
            if len(rows) != count:
                raise RuntimeError(f"{len(rows)} rows are locked, not {count}")
            yield
    finally:
        await connection.close()


def _wrong(sweeps: list[Measured], rows: int) -> list[str]:
    """Return what makes a time worth nothing."""
    wrong = {one.note for one in sweeps} - {""}
    if {one.rows for one in sweeps} != {rows}:
        wrong.add(f"not the {rows} rows that one DELETE deletes")
    return sorted(wrong)


def _seconds(sweeps: list[Measured], peers: list[Measured]) -> dict[str, object]:
    return {
        "sweeps": [round(one.seconds, 4) for one in sweeps],
        "peers": [round(one.seconds, 4) for one in peers],
    }
