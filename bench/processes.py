"""Rows of the bench in which sweeperd is a process of its own."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

import asyncpg

from bench.cases import table
from bench.row import Row, Size, median
from bench.world import world
from sweeperd.host.clock import SystemClock
from sweeperd.sweep.guards.decide import GUARD_KEYS
from sweeperd.sweep.guards.hold_file import Hold, Holds

SWEEPS = 300
DRAINED_SECONDS = 60.0
PATIENCE_SECONDS = 300.0
CONNECTIONS = 4  # max_connections by default


async def memory(size: Size) -> Row:
    """Resident memory of the command at 0.1 M and at 10 M rows; measured once, it hardly varies."""
    sizes: list[int] = []
    for rows in (100_000, 10_000_000):
        async with world() as made:
            template = await made.prepare(table(size.rows(rows), 0.5, index=False))
            async with made.copy(template) as dsn:
                sizes.append(await _resident(dsn))
    growth = (sizes[1] - sizes[0]) / 2**20
    note = f"at 10 M rows beside 0.1 M ({sizes[0] / 2**20:.0f} MB)"
    details: dict[str, object] = {"bytes": sizes}
    return Row(f"{growth:.1f} MB more", "less than 5 MB", growth < 5, note, details)


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


async def many_sweeps(size: Size) -> Row:
    """300 sweeps due at once in one daemon: tables of 2,000 rows, half of them expired."""
    count = max(int(SWEEPS * size.share), CONNECTIONS * 2)
    sql = (
        f"DO $$ BEGIN FOR i IN 1..{count} LOOP EXECUTE format('CREATE TABLE t%s AS SELECT g AS "
        "id, now() + (g - 1000.5) * interval ''1 hour'' AS expires_at "
        "FROM generate_series(1, 2000) g', i); EXECUTE format('CREATE INDEX ON t%s (expires_at)', "
        "i); COMMIT; END LOOP; END $$;;"
    )
    took: list[float] = []
    deletes: list[float] = []
    ended: list[dict[str, int]] = []
    async with world() as made:
        template = await made.prepare(sql)
        for _ in range(size.pairs):
            async with made.copy(template) as dsn:
                deletes.append(await _delete_from_all(dsn, count))
            async with made.copy(template) as dsn:
                seconds, outcomes = await _run_daemon(dsn, count)
                took.append(seconds)
                ended.append(outcomes)
    wrong = [
        f"{outcome}: {number} runs"
        for outcome, number in sorted(ended[-1].items())
        if outcome != "drained"
    ]
    wrong += [] if all(one.get("drained") == count for one in ended) else ["not all drained"]
    note = f"from the daemon's start; {count} DELETEs on {CONNECTIONS} connections "
    note += f"{median(deletes):.1f} s"
    return Row(
        f"{median(took):.1f} s",
        f"all drained in {DRAINED_SECONDS:.0f} s, none timed out",
        median(took) <= DRAINED_SECONDS and not wrong,
        "; ".join([note, *wrong]),
        {"seconds": took, "deletes": deletes, "outcomes": ended},
    )


async def _delete_from_all(dsn: str, count: int) -> float:
    """Delete from each table on as many connections as the daemon has; return the seconds."""
    begun = time.perf_counter()
    left = iter(range(1, count + 1))

    async def work() -> None:
        connection = await asyncpg.connect(dsn)
        for number in left:
            await connection.execute(f"DELETE FROM t{number} WHERE expires_at <= now()")
        await connection.close()

    await asyncio.gather(*(work() for _ in range(CONNECTIONS)))
    return time.perf_counter() - begun


async def _run_daemon(dsn: str, count: int) -> tuple[float, dict[str, int]]:
    """Run the daemon until each sweep has drained its table, or patience ends.

    Returns:
        The seconds, and how many sweeps drained and how many runs ended otherwise, by outcome.
    """
    with tempfile.TemporaryDirectory(prefix="swp-") as directory:
        state = Path(directory, "state")
        state.mkdir(mode=0o700)
        config = Path(directory, "sweeperd.toml")
        config.write_text(
            f"[daemon]\nlog_format = 'json'\nstate_dir = {json.dumps(str(state))}\n"
            f"[databases.app]\ndsn = {json.dumps(dsn)}\n[defaults]\nkeep = '0s'\n"
            + "".join(
                f"[sweeps.s{number}]\ntable = 't{number}'\ncolumn = 'expires_at'\n"
                for number in range(1, count + 1)
            )
        )
        begun = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sweeperd", "run", "--config", str(config)),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        outcomes: dict[str, int] = {}
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await _count_drained(process, count, outcomes)
        except TimeoutError:
            pass  # what is missing is told
        finally:
            seconds = time.perf_counter() - begun
            if process.returncode is None:
                process.kill()
            await process.communicate()
    return seconds, outcomes


async def _count_drained(
    process: asyncio.subprocess.Process, count: int, outcomes: dict[str, int]
) -> None:
    drained: set[str] = set()
    if process.stderr is None:
        return
    async for line in process.stderr:
        event = json.loads(line) if line.startswith(b"{") else {}
        if event.get("event") not in {"sweep_ran", "sweep_timed_out", "sweep_failed", "sweep_held"}:
            continue
        outcome = event.get("outcome") or event["event"].removeprefix("sweep_")
        if outcome == "drained":
            drained.add(event["sweep"])
            outcomes["drained"] = len(drained)
            if len(drained) == count:
                return
        else:
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
