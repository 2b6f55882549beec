"""status, reload, sweep --daemon, hold and release as processes, with a real daemon or none."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.cli.command import (
    CTRL_C,
    SWEEPERD,
    Result,
    on_a_terminal,
    start,
    sweep_table,
    sweeperd,
)
from tests.conftest import TestDatabase
from tests.daemon.process import PATIENCE, DaemonProcess

TABLES = (
    "CREATE TABLE {0} AS SELECT g AS id, now() - interval '1 hour' AS expires_at "
    "FROM generate_series(1, {1}) g; INSERT INTO {0} VALUES (0, now() + interval '1 hour');"
)
Run = Callable[..., Awaitable[Result]]


def disabled(name: str, table: str) -> str:
    return sweep_table(name, table) + "enabled = false\n"


@asynccontextmanager
async def daemon_of(
    database: TestDatabase, directory: Path, *sweeps: str
) -> AsyncIterator[tuple[DaemonProcess, Run]]:
    """A daemon, and a way to run commands beside it."""
    async with DaemonProcess(directory, database.dsn, "".join(sweeps)) as daemon:

        async def run(*args: str, **environ: str) -> Result:
            config = f"--config={directory}/sweeperd.toml"
            return await sweeperd(*args, config, STATE_DIRECTORY=str(daemon.state), **environ)

        await daemon.notify.until("READY=1")
        yield daemon, run
        if daemon.process.returncode is None:
            assert await daemon.end() == 0


def by_name(result: Result) -> dict[str, dict[str, Any]]:
    return {one["sweep"]: one for one in json.loads(result.out)}


async def fits_where_it_is_shown(daemon: DaemonProcess, run: Run) -> None:
    # a table in a pipe has whole lines and no colour; on a terminal it fits
    piped = await run("status", "--watch")
    assert piped.code == 1
    assert "\x1b" not in piped.out
    lines = piped.out.splitlines()
    row = r"good +idle +in 5 h 59 min +drained .* ago, 50 rows .*"
    assert any(re.fullmatch(row, line) for line in lines)
    assert any(line.startswith("bad: idle: the last run failed: ") for line in lines)
    config, state = f"--config={daemon.directory}/sweeperd.toml", str(daemon.state)
    wide = await on_a_terminal("status", config, state=state, columns=140)
    assert "\x1b[" in wide
    plain = await on_a_terminal("status", config, state=state, columns=140, NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", plain)
    narrow = await on_a_terminal("status", config, state=state, columns=40, NO_COLOR="1")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", narrow).splitlines()
    assert max(map(len, lines)) <= 40
    assert "good idle" in lines
    assert any("50 rows" in line for line in lines)
    watched = await on_a_terminal(
        "status", "--watch", config, state=state, columns=140, until="50 rows"
    )
    assert "Traceback" not in watched

    # a reader that goes away early is no fault
    process = await start("status", config, STATE_DIRECTORY=state)
    assert process.stdout is not None
    process.stdout._transport.close()  # type: ignore[attr-defined]
    async with asyncio.timeout(PATIENCE):
        await process.wait()
    assert process.stderr is not None
    assert await process.stderr.read() == b""


async def test_status_says_of_each_sweep_what_it_does_and_why(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(TABLES.format("t", 50) + TABLES.format("u", 3))
    sweeps = (sweep_table("good"), sweep_table("bad", "missing"), disabled("off", "u"))
    async with daemon_of(database, tmp_path, *sweeps) as (daemon, run):
        await daemon.event("sweep_ran", sweep="good")
        await daemon.event("sweep_failed", sweep="bad")
        await daemon.notify.until("STATUS=", "failed bad (", "missing")

        told = await run("status", "--json")
        found = by_name(told)
        assert told.code == 1
        assert list(found) == ["bad", "good", "off"]
        good = found["good"]
        assert (good["state"], good["reason"], good["behind"]) == ("idle", None, False)
        assert good["last_run"]["deleted_count"] == 50
        assert good["last_run"]["outcome"] == "drained"
        assert good["next_run"].endswith("+00:00")
        assert good["totals"] == {"runs": 1, "deleted_count": 50}
        assert (good["backlog_estimate"], good["eta_seconds"]) == (0, 0)
        assert good["drain_per_second"] > 0
        assert good["inflow_per_second"] is None
        assert "missing" in found["bad"]["reason"]
        assert (found["off"]["state"], found["off"]["reason"]) == ("disabled", "enabled = false")

        assert (await run("status", "good")).code == 0
        typo = await run("status", "goood")
        assert typo.code == 2
        assert "did you mean good?" in typo.err
        await fits_where_it_is_shown(daemon, run)


async def test_without_a_daemon_status_shows_what_it_saved(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(TABLES.format("t", 50))
    async with daemon_of(database, tmp_path, sweep_table()) as (daemon, run):
        await daemon.event("sweep_ran")
        assert await daemon.end() == 0
        with socket.socket(socket.AF_UNIX) as dead:  # as a daemon leaves it that was killed
            dead.bind(str(daemon.state / "control.sock"))

        for args in (("reload",), ("sweep", "--daemon", "s")):
            told = await run(*args)
            assert (told.code, told.out) == (3, "")
            assert "the daemon is not running: nothing listens on" in told.err
        before = {path: path.stat().st_mtime_ns for path in daemon.state.rglob("*")}
        told = await run("status", "--json")
        assert told.code == 3
        assert "the daemon is not running" in told.err
        assert by_name(told)["s"]["last_run"]["deleted_count"] == 50
        assert by_name(told)["s"]["next_run"] is None

        # hold and release work without, and status shows it
        assert (await run("hold", "s", "--reason=audit")).code == 0
        told = await run("status", "--json")
        assert by_name(told)["s"]["state"] == "held"
        assert by_name(told)["s"]["reason"].startswith("audit, set by ")
        assert by_name(told)["s"]["held_since"]
        assert (await run("release", "s")).code == 0
        (daemon.state / "control.sock").unlink()
        told = await run("status")
        assert told.code == 3
        assert f"there is no {daemon.state}/control.sock" in told.err
        after = {path: path.stat().st_mtime_ns for path in before if path.exists()}
        assert {path.name for path, at in after.items() if before[path] != at} <= {"state"}


async def test_reload_succeeds_once_in_force_and_fails_with_the_line(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(TABLES.format("t", 50) + TABLES.format("u", 3))
    async with daemon_of(database, tmp_path, sweep_table()) as (daemon, run):
        await daemon.event("sweep_ran")
        daemon.write(sweep_table(interval="1h") + sweep_table("new", "u"))
        told = await run("reload")
        assert (told.code, told.err) == (0, "")
        assert told.out == "the configuration is in force: added new; changed s\n"
        assert list(by_name(await run("status", "--json"))) == ["new", "s"]

        daemon.write(sweep_table(interval="6m"))
        told = await run("reload")
        assert (told.code, told.out) == (78, "")
        assert told.err.startswith(f"{tmp_path}/sweeperd.toml:9: sweeps.s.interval: ")
        assert "the one before stays in force" in told.err
        # what is in force is well, but what the files say is not: that needs somebody, too
        told = await run("status")
        assert told.code == 1
        assert "the configuration in the files is rejected" in told.err

        other = tmp_path / "other.toml"
        other.write_text((tmp_path / "sweeperd.toml").read_text())
        state = {"STATE_DIRECTORY": str(daemon.state)}
        told = await sweeperd("reload", f"--config={other}", **state)
        assert told.code == 3
        assert f"runs with {tmp_path}/sweeperd.toml, not with {other}" in told.err


async def test_the_daemon_sweeps_on_request_and_hold_and_release_act_at_once(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(TABLES.format("t", 50) + TABLES.format("u", 3))
    async with daemon_of(database, tmp_path, sweep_table(), disabled("off", "u")) as (daemon, run):
        await daemon.event("sweep_ran")
        await database.execute("UPDATE t SET expires_at = now() - interval '1 s' WHERE id = 0")
        await database.execute("INSERT INTO t VALUES (7, now() + interval '1 day')")
        told = await run("sweep", "--daemon", "s", "--correlation-id", "deploy-42")
        assert told.code == 0
        assert "s: drained, 1 rows deleted" in told.out
        await daemon.event("sweep_ran", correlation_id="deploy-42", deleted_count=1)
        told = await run("sweep", "--daemon", "s", "--json")
        assert (told.code, told.reports[0]["outcome"]) == (0, "drained")

        typo = await run("sweep", "--daemon", "ss")
        assert typo.code == 2
        assert "did you mean s?" in typo.err
        assert (await run("sweep", "--daemon", "s", "off")).code == 2
        off = await run("sweep", "--daemon", "off")
        assert off.code == 1
        assert "enabled = false" in off.err

        await run("hold", "s", "--reason=audit")
        held = await run("status", "s", "--json")
        assert (held.code, by_name(held)["s"]["state"]) == (1, "held")
        await daemon.notify.until("STATUS=", "held s (audit)")
        told = await run("sweep", "--daemon", "s")
        assert told.code == 1
        assert "to release it: sweeperd release s" in told.err
        await run("release", "s")
        assert by_name(await run("status", "--json"))["s"]["state"] != "held"


async def test_ctrl_c_ends_the_waiting_and_not_the_run(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(TABLES.format("t", 10))
    async with daemon_of(database, tmp_path, sweep_table(timeout="10min")) as (daemon, _):
        await daemon.event("sweep_ran")
        await database.execute(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_sleep(0.02); RETURN OLD; END $$;"
            "CREATE TRIGGER slow BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION slow();"
            "INSERT INTO t SELECT g, now() - interval '1 s' FROM generate_series(1, 300) g"
        )
        process = await asyncio.create_subprocess_exec(
            *(*CTRL_C, *SWEEPERD, "sweep", "--daemon", "s", f"--config={tmp_path}/sweeperd.toml"),
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "STATE_DIRECTORY": str(daemon.state)},
        )
        await daemon.event("sweep_started", count=2)
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(PATIENCE):
            _, told = await process.communicate()
        assert process.returncode == 1
        assert b"sweeperd status s" in told
        ran = await daemon.event("sweep_ran", count=2)
        assert (ran["outcome"], ran["deleted_count"]) == ("drained", 300)
