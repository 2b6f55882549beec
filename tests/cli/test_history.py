"""`sweeperd history`, and what a foreground `sweep` leaves for the next one."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import signal
import struct
import termios
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sweeperd.daemon.state.database import DATABASE
from sweeperd.daemon.state.found import read_records
from sweeperd.daemon.state.record import SweepRecord
from sweeperd.daemon.state.rows import Snapshot
from sweeperd.daemon.state.run_lock import run_lock
from sweeperd.daemon.state.runs import Run
from sweeperd.daemon.state.store import Changes, StateStore
from tests.cli.command import SWEEPERD, configured, sweep_table, sweeperd
from tests.conftest import TestDatabase
from tests.daemon.process import DaemonProcess

ROWS = (
    "CREATE TABLE t WITH (fillfactor = 50) AS SELECT g AS id, CASE WHEN g = 1 THEN 'infinity' "
    "ELSE now() + (g - 5000.5) * interval '1 min' END AS expires_at, "
    "repeat('x', 500) AS data FROM generate_series(1, 10000) g"
)
CUT = sweep_table(strategy="heap", timeout="700ms", max_batch_rows=100, rate_limit=1000)
REASON = "the trigger public.t_guard kept 3 rows \x1b[2J: " + "a long reason " * 200


async def left(database: TestDatabase) -> int:
    return int(await database.fetchval("SELECT count(*) FROM t"))


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "sweeperd.toml"
    path.write_text(f'[databases.app]\ndsn = "postgresql://u@/d"\n{sweep_table("sessions")}')
    return f"--config={path}"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Return a state directory with 30 daily runs of a sweep and one of a former sweep."""
    directory = tmp_path / "state"
    directory.mkdir(mode=0o750)
    now = datetime.now(UTC)
    runs = [
        Run(
            "sessions",
            {
                "started_at": (now - timedelta(days=age, minutes=1)).isoformat(),
                "correlation_id": f"{age:08}-e53b-4f0e-bc87-32bb8a6029a2", "outcome": "timed_out",
                "deleted_count": age, "skipped_count": 2, "duration_seconds": 1.25,
                "remaining": {"locked": 3, "referenced": 40}, "end_reason": REASON,
            },
        )
        for age in reversed(range(30))
    ]  # fmt: skip
    former = Run("former", {"started_at": now.isoformat(), "outcome": "drained"})
    store = StateStore(directory)
    sweeps = [Snapshot.of(name, SweepRecord()) for name in ("sessions", "former")]
    assert store.write(Changes(sweeps, [*runs, former]))
    store.close()
    return directory


async def test_it_shows_the_newest_runs_or_all_since_a_time(state: Path, config: str) -> None:
    environ = {"STATE_DIRECTORY": str(state)}

    newest = await sweeperd("history", "sessions", config, **environ)
    since = await sweeperd("history", "sessions", "--since", "5d", "--json", config, **environ)
    day = f"{datetime.now(UTC) - timedelta(days=2):%Y-%m-%d %H:%M}"
    at = await sweeperd("history", "sessions", "--since", day, "--json", config, **environ)
    former = await sweeperd("history", "former", "--json", config, **environ)
    none = await sweeperd("history", "sessions", "--since", "1s", config, **environ)

    lines = newest.out.splitlines()
    assert newest.code == 0
    assert sum("timed_out" in line for line in lines) == 20
    assert lines[-4:-1] == [
        "  0 rows deleted in 1.2 s",
        "  left: 3 locked, 40 referenced",
        "  " + REASON.replace("\x1b", "\\u001b"),
    ]
    assert lines[-1].startswith("  00000000-e53b")
    assert "\x1b" not in newest.out
    runs = json.loads(since.out)
    assert [run["deleted_count"] for run in runs] == [4, 3, 2, 1, 0]
    assert {"started_at", "outcome", "end_reason", "remaining", "duration_seconds"} < {*runs[0]}
    assert [run["deleted_count"] for run in json.loads(at.out)] == [1, 0]
    assert [run["outcome"] for run in json.loads(former.out)] == ["drained"]
    assert (none.code, none.out) == (0, "")
    assert "no past runs since then" in none.err


async def test_what_is_asked_wrongly_is_said(state: Path, config: str, tmp_path: Path) -> None:
    environ = {"STATE_DIRECTORY": str(state)}

    unknown = await sweeperd("history", "sesions", config, **environ)
    odd = await sweeperd("history", "sessions", "--since", "yesterday", config, **environ)
    fresh = {"STATE_DIRECTORY": str(tmp_path / "fresh")}
    nothing = await sweeperd("history", "sessions", config, **fresh)
    stranger = await sweeperd("history", "x", config, **fresh)
    (state / DATABASE).write_bytes(b"")
    damaged = await sweeperd("history", "sessions", config, **environ)

    assert (unknown.code, odd.code, stranger.code) == (2, 2, 2)
    assert "did you mean sessions?" in unknown.err
    assert "such as 7d" in odd.err
    assert (nothing.code, nothing.out) == (0, "")
    assert "no past runs" in nothing.err
    assert not (tmp_path / "fresh").exists()
    assert damaged.code == 1
    assert "state.db cannot be read: it is empty" in damaged.err


async def on_a_terminal(columns: int, *args: str, **environ: str) -> str:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    kept = {key: value for key, value in os.environ.items() if key not in {"COLUMNS", "NO_COLOR"}}
    process = await asyncio.create_subprocess_exec(
        *(*SWEEPERD, *args), stdout=theirs, stderr=theirs, stdin=theirs,
        env={**kept, "TERM": "xterm-256color", **environ},
    )  # fmt: skip
    os.close(theirs)
    told = bytearray()

    def read() -> None:
        try:
            while piece := os.read(ours, 65536):
                told.extend(piece)
        except OSError:  # the other side is closed
            return

    await asyncio.to_thread(read)
    assert await process.wait() == 0
    os.close(ours)
    return told.decode()


async def test_a_narrow_terminal_no_color_and_a_pipe_that_is_closed(
    state: Path, config: str
) -> None:
    environ = {"STATE_DIRECTORY": str(state)}
    command = ("history", "sessions", "--since", "90d", config)

    narrow = await on_a_terminal(40, *command, **environ, NO_COLOR="1")
    coloured = await on_a_terminal(200, *command, **environ)
    process = await asyncio.create_subprocess_shell(
        f"{' '.join(SWEEPERD)} history sessions --since 90d {config} | head -n 1",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environ},
    )
    out, err = await process.communicate()

    assert max(len(line) for line in narrow.splitlines()) <= 40
    assert "\x1b" not in narrow
    assert narrow.count("a long") > 29 * 150
    assert "\x1b[33mtimed_out" in coloured
    assert (out.count(b"\n"), err) == (1, b"")


async def test_a_foreground_sweep_goes_on_where_its_timeout_cut_it(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(ROWS)
    option, state = configured(tmp_path, database, CUT), tmp_path / "state"
    environ = {"STATE_DIRECTORY": str(state)}

    first = await sweeperd("sweep", "--json", option, **environ)
    position = read_records(state).records["s"].memory
    dry = await sweeperd("sweep", "--dry-run", "--json", option, **environ)
    after = read_records(state).records["s"].memory
    # it would be found from the table's start
    await database.execute("UPDATE t SET expires_at = '2000-01-01' WHERE id = 1")
    assert await database.fetchval("SELECT (ctid::text::point)[0] FROM t WHERE id = 1") == 0
    second = await sweeperd("sweep", "--json", option, **environ)
    past = await sweeperd("history", "s", "--json", option, **environ)

    assert first.reports[0]["outcome"] == second.reports[0]["outcome"] == "timed_out"
    assert await database.fetchval("SELECT count(*) FROM t WHERE id = 1") == 1
    assert dry.reports[0]["expired_count"]
    assert after == position
    assert position.facts is not None
    runs = json.loads(past.out)
    ids = [report["correlation_id"] for report in (*first.reports, *second.reports)]
    assert [run["correlation_id"] for run in runs] == ids
    assert [run["deleted_count"] for run in runs] == [
        first.reports[0]["deleted_count"],
        second.reports[0]["deleted_count"],
    ]


async def test_a_foreground_sweep_goes_on_when_it_cannot_save(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(ROWS)
    option, state = configured(tmp_path, database), tmp_path / "state"
    environ = {"STATE_DIRECTORY": str(state)}
    state.mkdir(mode=0o750)

    with run_lock(state, "s") as is_free:
        assert is_free
        busy = await sweeperd("sweep", "--json", "--max-rows=10", option, **environ)
    assert not (state / DATABASE).exists()
    (state / "runs.lock").unlink()
    (state / "runs.lock").mkdir()
    odd = await sweeperd("sweep", "--json", "--max-rows=10", option, **environ)

    assert (busy.code, odd.code) == (0, 0)
    assert "where this run stops will not be saved: another run of it goes on" in busy.err
    assert "where this run stops will not be saved" in odd.err
    assert await left(database) == 9980


async def test_the_daemon_takes_up_what_a_foreground_run_saved_and_its_history_is_one(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(ROWS)
    async with DaemonProcess(tmp_path, database.dsn, sweep_table()) as daemon:
        option = f"--config={tmp_path}/sweeperd.toml"
        environ = {"STATE_DIRECTORY": str(daemon.state)}
        await daemon.event("sweep_ran", outcome="drained")
        await database.execute("UPDATE t SET expires_at = '2000-01-01' WHERE id = 9999")
        swept = await sweeperd("sweep", "--json", option, **environ)
        assert swept.code == 0, swept.err
        past = await sweeperd("history", "s", "--json", option, **environ)
        await database.execute("UPDATE t SET expires_at = '2000-01-01' WHERE id = 9998")
        daemon.write(sweep_table(interval="300ms"))
        daemon.send(signal.SIGHUP)
        await daemon.event("sweep_ran", deleted_count=1)
        assert await daemon.end() == 0

    assert [run["deleted_count"] for run in json.loads(past.out)] == [4999, 1]
    assert daemon.named("state_not_saved") == []
    saved = daemon.saved()["s"]
    assert [run["deleted_count"] for run in saved.history][:2] == [4999, 1]
    assert saved.memory.facts is not None
