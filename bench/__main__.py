"""`make bench`: sweeperd beside its peers, interleaved in one run; `python -m bench KEY...`."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path

from bench.beside import hot_table, same_table
from bench.cases import cases
from bench.processes import many_sweeps, memory
from bench.ratio import run_case
from bench.row import QUICK, Row, Size
from bench.special import (
    chain,
    chains,
    far_link,
    locked_rows,
    near_link,
    snapshot_scale,
    steady_state,
)
from bench.state import one_of_many, state_write
from bench.world import World

RESULTS = Path(__file__).parent / "results.json"
FEWEST_PAIRS = 3
LAYOUT = "{:<13} {:<41} {:<24} {:<36} {}"

SPECIAL: dict[str, tuple[str, Callable[[Size], Awaitable[Row]]]] = {
    "link-10": ("link of 10 ms each way, 20,000 rows", near_link),
    "link-40": ("link of 40 ms each way, 20,000 rows", far_link),
    "steady": ("1,000 expired of 5 M, index", steady_state),
    "scale": ("old snapshot: 4 M rows beside 1 M", snapshot_scale),
    "locked": ("312 locked rows spread over 1.5 M", locked_rows),
    "chain": ("a chain of 3,000 rows that refer to each other", chain),
    "chains": ("20,000 rows in chains of 10", chains),
    "traffic": ("pgbench at half its saturated rate", same_table),
    "hot": ("1 GB without index beside a hot table", hot_table),
    "sweeps": ("300 sweeps due at once, one daemon", many_sweeps),
    "memory": ("memory of the process", memory),
    "state-write": ("state of one commit, 1,000 sweeps", state_write),
    "one-of-200": ("1 M rows beside 200 idle sweeps", one_of_many),
}


async def measure(size: Size, keys: list[str]) -> dict[str, Row]:
    """Run the rows of these keys and show each as soon as it is known."""
    found: dict[str, Row] = {}
    world: World | None = None
    try:
        for key, case in cases(size).items():
            if key not in keys:
                continue
            if world is None or world.settings != case.settings:
                if world is not None:
                    world.stop()
                world = World(case.settings)
                world.start()
            found[key] = await run_case(world, case, size)
            show(key, case.title, found[key])
    finally:
        if world is not None:
            world.stop()
    for key, (title, run) in SPECIAL.items():
        if key in keys:
            found[key] = await run(size)
            show(key, title, found[key])
    return found


def show(key: str, title: str, row: Row) -> None:
    """Print a line of the table, and below it what stands behind it."""
    reached = "yes" if row.reached else "NO"
    print(LAYOUT.format(key, title, row.figure, row.must, reached))
    print(f"{'':13} {row.note}", flush=True)


def titles() -> dict[str, str]:
    """Return all rows: title by key."""
    made = {key: case.title for key, case in cases(QUICK).items()}
    return made | {key: title for key, (title, _) in SPECIAL.items()}


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        epilog="rows: " + ", ".join(titles()),
    )
    parser.add_argument("rows", nargs="*", metavar="KEY", help="rows to run; all by default")
    parser.add_argument("--pairs", type=int, help="paired runs of a row, median of them (5)")
    parser.add_argument(
        "--quick", action="store_true", help="small tables, one pair: a first look, no proof"
    )
    options = parser.parse_args()
    unknown = [key for key in options.rows if key not in titles()]
    if unknown:
        parser.error(f"no row {', '.join(unknown)}; there are {', '.join(titles())}")
    size = QUICK if options.quick else Size(pairs=max(options.pairs or 5, FEWEST_PAIRS))
    print(f"pairs of peers in turns: {size.pairs}, medians; ratios are to one DELETE")
    if options.quick:
        print("a first look: small tables, one pair; what is reached here proves nothing")
    print(LAYOUT.format("row", "case", "measured", "must reach", "reached"))
    found = asyncio.run(measure(size, options.rows or list(titles())))
    if not options.rows and not options.quick:
        RESULTS.write_text(
            json.dumps(
                [{"row": key, "case": titles()[key], **asdict(row)} for key, row in found.items()],
                indent=1,
            )
            + "\n"
        )
        print(f"written: bench/{RESULTS.name}")
    missed = [key for key, row in found.items() if not row.reached]
    print(f"{len(found) - len(missed)} of {len(found)} rows reached", *missed)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
