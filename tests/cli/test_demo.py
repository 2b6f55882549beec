"""`sweeperd demo`: the promise that a newcomer sees."""

from __future__ import annotations

import asyncio
import os
import re
import select
import signal
from pathlib import Path

import asyncpg

from tests.cli.command import result_of, start, sweeperd


def left_behind(process: asyncio.subprocess.Process) -> list[Path]:
    return list(Path("/tmp").glob(f"swp-{process.pid}-*"))


async def test_it_sweeps_shows_and_leaves_nothing_behind() -> None:
    process = await start("demo", "--for", "8s")

    result = await result_of(process)

    assert result.code == 0, result
    assert re.search(r"Sweep sessions drained: \d{5,} rows deleted", result.out)
    for table in ("sessions", "api_tokens", "audit_log"):
        row = re.search(rf"(?m)^.*│?\s*{table}\s+│(.*)$", result.out)
        assert row, result.out
        numbers = [int(text.replace(",", "")) for text in re.findall(r"[\d,]+", row[1])]
        assert numbers[2] > 10_000  # deleted
        assert numbers[0] + numbers[1] - numbers[2] == numbers[3]
        assert numbers[5] == 0  # wrongly deleted
    assert left_behind(process) == []


async def test_ctrl_c_ends_it_with_the_table() -> None:
    process = await start("demo", "--for", "0")
    assert process.stdout is not None
    head = b""
    while b"drained" not in head:
        head += await process.stdout.read(1)
    process.send_signal(signal.SIGINT)

    result = await result_of(process)

    assert result.code == 0
    assert "wrongly deleted" in result.out.replace("\n", " ") or "wrongly" in result.out


async def test_keep_leaves_the_database_to_play_with() -> None:
    result = await sweeperd("demo", "--for", "3s", "--keep")
    dsn = re.search(r"left running: (\S+)", result.out)
    stop = re.search(r"kill -INT (\d+); rm -r (\S+)", result.out)
    assert dsn
    assert stop
    try:
        connection = await asyncpg.connect(dsn[1])
        assert await connection.fetchval("SELECT count(*) FROM sessions") > 0
        await connection.close()
        checked = await sweeperd("check", f"--config={stop[2]}/sweeperd.toml")
        assert checked.code == 0, checked
    finally:
        pid = int(stop[1])
        end = os.pidfd_open(pid)  # readable once the process has ended
        os.kill(pid, signal.SIGINT)
        await asyncio.to_thread(select.select, [end], [], [])
        os.close(end)
        await (await asyncio.create_subprocess_exec("rm", "-rf", stop[2])).wait()


async def test_a_bad_length_is_a_usage_error() -> None:
    result = await sweeperd("demo", "--for", "10")

    assert result.code == 2
    assert "10s" in result.err
