"""A sweep beside one DELETE on copies of one database, in turns first."""

from __future__ import annotations

from dataclasses import asdict

from bench.cases import Case
from bench.peers import Measured, held_snapshot, one_delete, sweeperd, textbook_loop
from bench.row import Row, Size, median, percentile
from bench.world import World

LONGEST_BATCH = 0.2


async def run_case(world: World, case: Case, size: Size) -> Row:
    """Measure a case: each pair is one DELETE and one sweep, in turns first."""
    template = await world.prepare(case.sql)
    deletes: list[Measured] = []
    sweeps: list[Measured] = []
    for number in range(size.pairs):
        for peer in ("delete", "sweep") if number % 2 == 0 else ("sweep", "delete"):
            async with world.copy(template) as dsn, held_snapshot(dsn, held=case.snapshot):
                if peer == "sweep":
                    await world.log_batches(dsn)
                    sweeps.append(await sweeperd(dsn, **case.keys))
                    sweeps[-1].batches = world.batches(dsn)
                else:
                    statement = [case.statement] if case.statement else []
                    deletes.append(await one_delete(dsn, *statement))
    loop = None
    if case.loop:
        async with world.copy(template) as dsn, held_snapshot(dsn, held=case.snapshot):
            loop = await textbook_loop(dsn)
    return judge(case, sweeps, deletes, loop)


def judge(
    case: Case, sweeps: list[Measured], deletes: list[Measured], loop: Measured | None
) -> Row:
    """Compare by the median of the pairs' ratios."""
    ratios = [sweep.rate / delete.rate for sweep, delete in zip(sweeps, deletes, strict=True)]
    ratio, delete_rate = median(ratios), median(one.rate for one in deletes)
    batches = [seconds for sweep in sweeps for seconds in sweep.batches]
    p99 = percentile(batches, 0.99)
    wrong = {sweep.note for sweep in sweeps} - {""}
    if not batches:
        wrong.add("the server's log shows no batch")
    if {one.rows for one in sweeps} != {one.rows for one in deletes}:
        wrong.add("the peers did not delete the same rows")
    note = (
        f"{median(one.rate for one in sweeps):,.0f} of {delete_rate:,.0f} rows/s; "
        f"{len(batches) // len(sweeps)} batches, at the server p99 {p99 * 1000:.0f} ms, "
        f"max {max(batches, default=0) * 1000:.0f} ms; "
        f"WAL {sweeps[0].wal / max(sweeps[0].rows, 1):.0f} of "
        f"{deletes[0].wal / max(deletes[0].rows, 1):.0f} B/row"
    )
    if loop is not None:
        note += f"; textbook loop {loop.rate / delete_rate:.2f}"
        note += f" ({loop.note})" if loop.note else ""
    note = "; ".join([note, *sorted(wrong)])
    in_time = not case.p99 or p99 <= LONGEST_BATCH
    must = f"{case.least}, p99 {LONGEST_BATCH * 1000:.0f} ms" if case.p99 else f"{case.least}"
    details: dict[str, object] = {
        "ratios": [round(one, 3) for one in ratios],
        "p99_ms": round(p99 * 1000, 1),
        "sweeps": [_plain(one) for one in sweeps],
        "deletes": [_plain(one) for one in deletes],
        "loop": _plain(loop) if loop else None,
    }
    reached = ratio >= case.least and in_time and not wrong
    return Row(f"{ratio:.2f}", must, reached, note, details)


def _plain(measured: Measured) -> dict[str, object]:
    return asdict(measured) | {"batches": len(measured.batches)}
