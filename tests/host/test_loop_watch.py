"""A blocked event loop is told of while it is blocked, with its stack."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from pathlib import Path

from sweeperd.host.loop_watch import watched_loop


def blocks_the_loop(until: threading.Event) -> bool:
    return until.wait(30)


async def test_a_blocked_loop_is_told_of_with_the_place_where_it_stands() -> None:
    told: list[tuple[float, str]] = []
    seen = threading.Event()

    def tell(seconds: float, stack: str) -> None:
        told.append((seconds, stack))
        seen.set()

    with watched_loop(tell, look=0.01, blocked=0.2):
        # nothing else can run here until the other thread has told
        assert blocks_the_loop(seen)

    assert told[0][0] >= 0.2
    assert "blocks_the_loop" in told[0][1]


async def test_a_loop_that_turns_is_not_told_of_and_the_thread_ends() -> None:
    told: list[float] = []
    threads = threading.active_count()
    with watched_loop(lambda seconds, _: told.append(seconds), look=0.01, blocked=5):
        for _ in range(100):
            await asyncio.sleep(0)

    assert told == []
    assert threading.active_count() == threads


async def test_a_process_that_was_stopped_is_no_blocked_loop(tmp_path: Path) -> None:
    script = tmp_path / "watched.py"
    script.write_text(
        "import asyncio, sys\n"
        "from sweeperd.host.loop_watch import watched_loop\n"
        "async def main():\n"
        "    with watched_loop(lambda *_: print('blocked', flush=True), look=0.05, blocked=0.4):\n"
        "        print('watched', flush=True)\n"
        "        await asyncio.to_thread(sys.stdin.readline)\n"
        "asyncio.run(main())\n"
    )
    child = await asyncio.create_subprocess_exec(
        sys.executable, script, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    assert await child.stdout.readline() == b"watched\n"
    child.send_signal(signal.SIGSTOP)
    await asyncio.sleep(1)  # what is tested is a span of time
    child.send_signal(signal.SIGCONT)
    out, _ = await child.communicate(b"\n")

    assert out == b""
