"""Rows of the bench about the state: what a write costs, and a sweep beside many idle ones."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.cases import table
from bench.row import Row, Size, median, percentile
from bench.world import world
from sweeperd.daemon.state.record import SweepRecord
from sweeperd.daemon.state.rows import Snapshot
from sweeperd.daemon.state.runs import Run
from sweeperd.daemon.state.store import Changes, StateStore
from sweeperd.sweep.outcome.facts import Facts
from sweeperd.sweep.outcome.memory import SweepMemory

SWEEPS = 1_000
IDLE = 200
RUNS = 360  # four a day for 90 days
WRITES = 300
PATIENCE_SECONDS = 300.0
REPORT = {
    "cutoff_time": "2026-01-15T12:00:00+00:00",
    "outcome": "drained",
    "strategy": "heap",
    "deleted_count": 12_345,
    "skipped_count": 0,
    "batches": 12,
    "duration_seconds": 1.234,
    "strategy_reason": "a table of this size is read fastest by block ranges " * 4,
    "warnings": ["the table has a trigger for each row " * 4],
}


async def state_write(size: Size) -> Row:
    """One commit's state of one of 1,000 sweeps with full history, where fsync costs nothing."""
    names = [f"s{number}" for number in range(size.rows(SWEEPS))]
    with tempfile.TemporaryDirectory(prefix="swp-", dir="/dev/shm") as directory:
        store = filled(Path(directory), names)
        record = _record()
        seconds: list[float] = []
        busy: list[float] = []
        for number in range(WRITES):
            record.memory.add_deleted({"public.t": number + 1})
            begun, worked = time.perf_counter(), time.thread_time()
            written = store.write(Changes([Snapshot.of(names[0], record)]))
            seconds.append(time.perf_counter() - begun)
            busy.append(time.thread_time() - worked)
            if not written:
                raise RuntimeError("the state was not written")
        store.close()
        begun = time.perf_counter()
        StateStore(Path(directory)).load()
        loaded = time.perf_counter() - begun
        megabytes = sum(path.stat().st_size for path in Path(directory).iterdir()) / 2**20
    worst = percentile(busy, 0.99)
    return Row(
        f"{worst * 1000:.2f} ms of CPU (p99)",
        "5 ms",
        worst < 0.005,
        f"{len(names):,} sweeps with {RUNS} runs each, {megabytes:.0f} MB; read in {loaded:.2f} s; "
        f"{median(seconds) * 1000:.2f} ms of wall time",
        {"seconds": seconds, "cpu_seconds": busy, "load_seconds": loaded},
    )


async def one_of_many(size: Size) -> Row:
    """A sweep of 1 M rows in a daemon with 200 idle ones, beside the same alone."""
    alone: list[float] = []
    beside: list[float] = []
    idle = [f"idle{number}" for number in range(IDLE)]
    async with world() as made:
        template = await made.prepare(table(size.rows(1_000_000), 0.5))
        for _ in range(size.pairs):
            for names, seconds in (([], alone), (idle, beside)):
                async with made.copy(template) as dsn:
                    seconds.append(await _drained(dsn, names))
    ratio = median(more / less for more, less in zip(beside, alone, strict=True))
    note = (
        f"{median(beside):.2f} s beside {IDLE} with {RUNS} runs each, {median(alone):.2f} s alone"
    )
    return Row(f"{ratio:.2f}", "1.1", ratio <= 1.1, note, {"beside": beside, "alone": alone})


def filled(directory: Path, names: Sequence[str]) -> StateStore:
    """Return the store of a directory in which each sweep has run just now, and 360 times."""
    now = datetime.now(UTC)
    store = StateStore(directory)
    for name in names:
        starts = (now - timedelta(hours=6 * age) for age in reversed(range(RUNS)))
        runs = [Run(name, {"started_at": start.isoformat(), **REPORT}) for start in starts]
        store.write(Changes([Snapshot.of(name, _record())], runs))
    return store


def _record() -> SweepRecord:
    facts = Facts("print", 7, 1.5, "boot-1", 12, None, 3, 16384, 800, 799)
    return SweepRecord(
        last_start=datetime.now(UTC),
        last_outcome="drained",
        memory=SweepMemory(facts=facts, batch_sizes={"heap": 1}),
        policy="app|t",
    )


async def _drained(dsn: str, idle: Sequence[str]) -> float:
    """Run a daemon until its one due sweep has drained its table; return that run's seconds."""
    with tempfile.TemporaryDirectory(prefix="swp-") as directory:
        state, config = Path(directory, "state"), Path(directory, "sweeperd.toml")
        state.mkdir(mode=0o700)
        filled(state, idle).close()
        config.write_text(
            f"[daemon]\nlog_format = 'json'\nstate_dir = {json.dumps(str(state))}\n"
            f"[databases.app]\ndsn = {json.dumps(dsn)}\n[defaults]\nkeep = '0s'\ntimeout = '1h'\n"
            + "".join(
                f"[sweeps.{name}]\ntable = '{table}'\ncolumn = 'expires_at'\n"
                for name, table in (("due", "t"), *((name, name) for name in idle))
            )
        )
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sweeperd", "run", "--config", str(config)),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await _seconds_of_run(process)
        finally:
            process.kill()
            await process.communicate()


async def _seconds_of_run(process: asyncio.subprocess.Process) -> float:
    if process.stderr is not None:
        async for line in process.stderr:
            event = json.loads(line) if line.startswith(b"{") else {}
            if event.get("event") == "sweep_ran" and event["outcome"] == "drained":
                return float(event["duration_seconds"])
            if event.get("event") in {"sweep_ran", "sweep_failed", "sweep_held"}:
                raise RuntimeError(f"the sweep did not drain: {event}")
    raise RuntimeError("the daemon ended")
