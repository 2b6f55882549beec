"""`make bench`: sweeperd beside one DELETE and the textbook loop, interleaved in one run."""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.cases import CASES, Case
from bench.peers import Measured, held_snapshot, one_delete, sweeperd, textbook_loop
from bench.special import SPECIAL
from bench.world import World

RESULTS = Path(__file__).parent / "results.json"
BATCH_TARGET = 0.1


@dataclass
class Row:
    """One line of the result.

    Attributes:
        name: The case.
        figure: What was measured, in words.
        must: What must be reached, in words.
        reached: Whether it was.
        details: Numbers behind it.
    """

    name: str
    figure: str
    must: str
    reached: bool
    details: dict[str, object] = field(default_factory=dict)


async def run_case(world: World, case: Case, pairs: int) -> Row:
    """Measure a case: each pair is one DELETE and one sweep, in turns first."""
    template = await world.prepare(case.sql)
    deletes: list[Measured] = []
    sweeps: list[Measured] = []
    for number in range(pairs):
        for peer in ("delete", "sweep") if number % 2 == 0 else ("sweep", "delete"):
            async with world.copy(template) as dsn, held_snapshot(dsn, held=case.snapshot):
                if peer == "sweep":
                    sweeps.append(await sweeperd(dsn, **case.keys))
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
    ratio = statistics.median(ratios)
    batches = sorted(seconds for sweep in sweeps for seconds in sweep.batches)
    p99 = batches[int(len(batches) * 0.99)] if batches else 0.0
    reached = ratio >= case.least and (not case.p99 or p99 <= 2 * BATCH_TARGET)
    text = (
        f"{ratio:.2f} ({statistics.median(s.rate for s in sweeps):,.0f} of "
        f"{statistics.median(d.rate for d in deletes):,.0f} rows/s); "
        f"batch p99 {p99 * 1000:.0f} ms, max {batches[-1] * 1000:.0f} ms; "
        f"WAL {sweeps[0].wal / sweeps[0].rows:.0f} of {deletes[0].wal / deletes[0].rows:.0f} B/row"
    )
    if loop is not None:
        text += f"; loop {loop.rate / statistics.median(d.rate for d in deletes):.2f}"
        text += f" ({loop.note})" if loop.note else ""
    notes = {sweep.note for sweep in sweeps} - {""}
    text += f"; {'; '.join(notes)}" if notes else ""
    must = f"{case.least}" + (", p99 200 ms" if case.p99 else "")
    details: dict[str, object] = {
        "ratios": [round(one, 3) for one in ratios],
        "p99_ms": round(p99 * 1000, 1),
        "sweeps": [_plain(one) for one in sweeps],
        "deletes": [_plain(one) for one in deletes],
        "loop": _plain(loop) if loop else None,
    }
    return Row(case.name, text, must, reached and not notes, details)


def _plain(measured: Measured) -> dict[str, object]:
    plain = asdict(measured)
    plain["batches"] = len(measured.batches)
    return plain


async def measure(pairs: int, only: str) -> list[Row]:
    """Run all rows, or those whose name holds ``only``."""
    rows: list[Row] = []
    world = World()
    world.start()
    try:
        for case in CASES:
            if only in case.name:
                rows.append(await run_case(world, case, pairs))
                show(rows[-1])
                if case.loop is False:
                    await world.forget()
    finally:
        world.stop()
    for name, special in SPECIAL.items():
        if only in name:
            figure, must, reached, details = await special(pairs)
            rows.append(Row(name, figure, must, reached, details))
            show(rows[-1])
    return rows


def show(row: Row) -> None:
    """Print a row as soon as it is known."""
    mark = "ok  " if row.reached else "MISS"
    print(f"{mark} {row.name}: {row.figure}  [must: {row.must}]", flush=True)


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--pairs", type=int, default=5, help="pairs a row (median of them)")
    parser.add_argument("--only", default="", help="rows whose name holds this")
    options = parser.parse_args()
    print(f"median of {options.pairs} pairs, peers interleaved; ratios are to one DELETE")
    rows = asyncio.run(measure(options.pairs, options.only))
    if not options.only:
        RESULTS.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
        print(f"written: bench/{RESULTS.name}")
    missed = sum(not row.reached for row in rows)
    print(f"{len(rows) - missed} of {len(rows)} rows reached")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
