"""The daemon end to end: real process, real signals, real PostgreSQL, captured notify socket."""

from __future__ import annotations

import json
import re
import signal
import time
from pathlib import Path

from sweeperd.daemon.state.runs import read_runs
from sweeperd.demo.server import Installation, Server
from tests.cli.command import sweep_table, sweeperd
from tests.conftest import TestDatabase
from tests.daemon.process import DaemonProcess

ISO_SESSIONS = (
    "CREATE TABLE t AS SELECT md5(g::text) AS id, to_char((now() + (g - 50.5) * "
    "interval '1 hour') AT TIME ZONE 'UTC', CASE WHEN g % 3 = 0 THEN 'YYYY-MM-DD\"T\"HH24:MI:SS' "
    "ELSE 'YYYY-MM-DD\"T\"HH24:MI:SS.US' END) || '+00:00' AS expires_at "
    "FROM generate_series(1, 100) g"
)
ROWS = (
    "CREATE TABLE t AS SELECT g AS id, now() - interval '1 hour' AS expires_at "
    "FROM generate_series(1, {}) g; INSERT INTO t VALUES (0, now() + interval '1 hour');"
)
SLOW = (
    "CREATE TABLE gone (id int); CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN PERFORM pg_sleep({}); INSERT INTO gone VALUES (OLD.id); RETURN OLD; END $$;"
    "CREATE TRIGGER slow BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION slow()"
)
OURS = (
    "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'sweeperd%' AND state = $1"
)


async def test_the_seed_job_runs_from_ten_lines(database: TestDatabase, tmp_path: Path) -> None:
    await database.execute(ISO_SESSIONS)
    sweep = sweep_table("session_cleanup", interval="6h", timeout="30s", unit="iso8601")

    async with DaemonProcess(tmp_path, database.dsn, sweep) as daemon:
        scheduled = await daemon.event("sweep_scheduled")
        ran = await daemon.event("sweep_ran")
        assert await daemon.end() == 0

    assert scheduled["interval_seconds"] == 21600
    assert scheduled["first_run"] is True
    assert (ran["sweep"], ran["deleted_count"], ran["outcome"]) == (
        "session_cleanup",
        50,
        "drained",
    )
    assert re.fullmatch(r"[0-9a-f-]{36}", ran["correlation_id"])
    assert ran["cutoff_time"].endswith("+00:00")
    assert ran["correlation_id"] == daemon.named("sweep_started")[0]["correlation_id"]
    assert daemon.saved()["session_cleanup"].last_outcome == "drained"


async def test_the_manager_hears_ready_beats_reloads_and_the_end(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(ROWS.format(10))
    daemon = DaemonProcess(tmp_path, database.dsn, sweep_table(), WATCHDOG_USEC="200000")
    async with daemon:
        await daemon.notify.until("READY=1", "STATUS=")
        for _ in range(3):
            await daemon.notify.until("WATCHDOG=1")

        daemon.send(signal.SIGHUP)
        reloading = await daemon.notify.until("RELOADING=1")
        assert re.search(r"MONOTONIC_USEC=\d{6,}", reloading)
        await daemon.notify.until("READY=1")
        await daemon.event("config_reloaded")

        daemon.write(sweep_table(interval="6m"))
        daemon.send(signal.SIGHUP)
        status = await daemon.notify.until("READY=1", "STATUS=")
        assert "configuration rejected" in status
        assert "sweeps.s.interval" in status
        rejected = await daemon.event("config_rejected")
        assert f"{tmp_path}/sweeperd.toml:9: sweeps.s.interval" in rejected["reason"]

        assert await daemon.end() == 0
        last = "\n".join(daemon.notify.drain())
        assert "STOPPING=1" in last


async def test_sigterm_in_a_long_batch_is_out_in_ten_seconds_with_a_true_count(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(ROWS.format(500) + SLOW.format(0.05))
    sweep = sweep_table(timeout="10min")

    async with DaemonProcess(tmp_path, database.dsn, sweep) as daemon:
        while not await database.fetchval("SELECT count(*) FROM gone"):
            assert daemon.process.returncode is None
        begun = time.monotonic()
        assert await daemon.end() == 0
        assert time.monotonic() - begun < 10

    ran = daemon.named("sweep_ran")[0]
    assert ran["outcome"] == "stopped"
    assert ran["deleted_count"] == 501 - await database.fetchval("SELECT count(*) FROM t") > 0
    assert await database.fetchval(OURS, "active") == 0


async def test_kill_9_in_a_run_costs_one_batch_at_most(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(ROWS.format(3000) + SLOW.format(0.001))
    sweep = sweep_table(timeout="10min", catch_up="0s")
    sweep = sweep.replace("[sweeps.s]\n", "[sweeps.s]\nmax_batch_rows = 50\n")

    async with DaemonProcess(tmp_path, database.dsn, sweep) as daemon:
        while not await database.fetchval("SELECT count(*) > 300 FROM gone"):
            assert daemon.process.returncode is None
        await daemon.end(signal.SIGKILL)
        leaf = next(iter(daemon.saved()["s"].memory.leaves.values()))
        left = await database.fetchval(
            "SELECT count(*) FROM t "
            "WHERE id > 0 AND ctid < format('(%s,%s)', $1::int, $2::int)::tid",
            leaf.stretches[0].end_block,
            leaf.stretches[0].end_offset,
        )
        assert left == 0, "the saved position lies behind what was committed"
        await daemon.start()
        ran = await daemon.event("sweep_ran")
        assert await daemon.end() == 0

    assert ran["outcome"] == "drained"
    assert await database.fetchval("SELECT count(*) FROM t") == 1
    assert await database.fetchval("SELECT count(*) = count(DISTINCT id) FROM gone")


async def test_a_timeout_cancels_on_the_server_keeps_batches_and_goes_on_at_its_cursor(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(ROWS.format(1500) + SLOW.format(0.002))
    sweep = sweep_table(interval="6h", timeout="1s", catch_up="100ms")

    async with DaemonProcess(tmp_path, database.dsn, sweep) as daemon:
        out = await daemon.event("sweep_timed_out")
        assert await database.fetchval(OURS, "active") == 0
        assert out["outcome"] == "timed_out"
        assert 0 < out["deleted_count"] < 1500, out
        ran = await daemon.event("sweep_ran")
        assert ran["outcome"] == "drained"
        assert await daemon.end() == 0

    counts = [event["deleted_count"] for event in daemon.named("sweep_timed_out")]
    assert sum(counts) + ran["deleted_count"] == 1500
    assert await database.fetchval("SELECT count(*) FROM t") == 1


async def test_a_reload_swaps_sweeps_and_spares_unchanged_ones(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(ROWS.format(1) + "CREATE TABLE u AS TABLE t; CREATE TABLE v AS TABLE t")
    same, gone = sweep_table("same"), sweep_table("gone", "u")

    async with DaemonProcess(tmp_path, database.dsn, same + gone) as daemon:
        await daemon.event("sweep_ran", sweep="same")
        await daemon.event("sweep_ran", sweep="gone")
        daemon.write(same + sweep_table("new", "v"), 'log_level = "warning"')
        daemon.send(signal.SIGHUP)
        await daemon.notify.until("RELOADING=1")
        await daemon.notify.until("READY=1")
        daemon.write(same + sweep_table("new", "v"), 'log_level = "info"')
        daemon.send(signal.SIGHUP)
        await daemon.event("config_reloaded")
        while await database.fetchval("SELECT count(*) FROM v") > 1:
            assert daemon.process.returncode is None
        assert await daemon.end() == 0

    assert len(daemon.named("sweep_started", sweep="same")) == 1
    assert "new" in daemon.saved()


async def test_a_hundred_reloads_in_a_row_break_nothing(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(ROWS.format(5))

    async with DaemonProcess(tmp_path, database.dsn, sweep_table(interval="200ms")) as daemon:
        await daemon.event("sweep_ran")
        for number in range(100):
            daemon.write(sweep_table(interval=f"{200 + number}ms") if number % 3 else "nonsense")
            daemon.send(signal.SIGHUP)
            await daemon.notify.until("RELOADING=1")
        daemon.write(sweep_table(interval="100ms"))
        daemon.send(signal.SIGHUP)
        before = len(daemon.named("sweep_ran"))
        await daemon.event("sweep_ran", count=before + 3)
        assert await daemon.end() == 0

    assert not daemon.named("sweep_loop_died")


async def test_a_database_that_is_down_is_a_status_and_its_run_comes_with_its_return(
    tmp_path: Path,
) -> None:
    server = Server(Installation.find())
    server.create()
    try:
        async with DaemonProcess(tmp_path, server.dsn(), sweep_table(interval="1s")) as daemon:
            await daemon.notify.until("READY=1")
            await daemon.event("database_lost")
            await daemon.notify.until("STATUS=", "waiting for database app")
            server.start()
            await daemon.event("database_back")
            await daemon.event("sweep_failed")  # there is no table yet
            await daemon.notify.until("STATUS=", "1 sweep")
            server.stop(immediate=True)
            await daemon.event("database_lost", count=2)
            server.start()
            await daemon.event("database_back", count=2)
            assert await daemon.end() == 0
    finally:
        server.stop(immediate=True)
        server.remove()


async def test_a_second_daemon_on_the_state_directory_ends_with_78(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(ROWS.format(1))
    async with DaemonProcess(tmp_path, database.dsn, sweep_table()) as daemon:
        await daemon.notify.until("READY=1")
        second = DaemonProcess(tmp_path, database.dsn, sweep_table())
        async with second:
            assert await second.process.wait() == 78
            await second._reader
            assert f"{daemon.process.pid}" in str(second.events)


async def test_a_bad_configuration_ends_with_78_and_no_ready(tmp_path: Path) -> None:
    async with DaemonProcess(tmp_path, "postgresql://u@h/d", "[sweeps.x]\n") as daemon:
        assert await daemon.process.wait() == 78
        await daemon._reader
        assert "sweeps.x.table: is required" in str(daemon.events)
        assert daemon.notify.drain() == []


async def test_a_state_that_was_emptied_is_kept_aside_and_holds_until_it_is_released(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(ROWS.format(5))
    config = f"--config={tmp_path}/sweeperd.toml"
    async with DaemonProcess(tmp_path, database.dsn, sweep_table(interval="1s")) as daemon:
        state = {"STATE_DIRECTORY": str(daemon.state)}
        await daemon.event("sweep_ran")
        await daemon.end(signal.SIGKILL)
        (daemon.state / "state.db").write_bytes(b"")
        await database.execute("INSERT INTO t VALUES (9, '2000-01-01')")
        rows = await database.fetchval("SELECT count(*) FROM t")

        await daemon.start()
        aside = await daemon.event("state_set_aside")
        held = await daemon.event("sweep_held", sweep="s")
        assert "the state of earlier runs cannot be read: state.db: it is empty" in held["reason"]
        assert await database.fetchval("SELECT count(*) FROM t") == rows
        await sweeperd("release", "s", config, **state)
        await daemon.event("sweep_ran", deleted_count=1)
        assert await daemon.end() == 0

    assert Path(aside["kept"]).read_bytes() == b""
    assert 1 in [run["deleted_count"] for run in read_runs(daemon.state, "s")]


async def test_a_password_is_in_no_line_of_the_log(tmp_path: Path) -> None:
    dsn = "postgresql://u:hunter2@127.0.0.1:1/d"
    async with DaemonProcess(tmp_path, dsn, sweep_table()) as daemon:
        await daemon.event("database_lost")
        assert await daemon.end() == 0

    assert "hunter2" not in json.dumps(daemon.events)


async def test_a_state_directory_that_is_gone_holds_and_is_told(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(ROWS.format(5))
    async with DaemonProcess(tmp_path, database.dsn, sweep_table(interval="300ms")) as daemon:
        await daemon.event("sweep_ran")
        daemon.state.rename(tmp_path / "away")
        daemon.state.write_text("no directory any more")
        held = await daemon.event("sweep_held", sweep="s")
        assert "what cannot be read holds" in held["reason"]
        daemon.state.unlink()
        (tmp_path / "away").rename(daemon.state)
        before = len(daemon.named("sweep_ran"))
        await daemon.event("sweep_ran", count=before + 2)
        assert await daemon.end() == 0


async def test_a_guards_hold_is_released_by_the_command_and_logged_with_the_user(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(ROWS.format(7) + "DELETE FROM t WHERE id = 0")
    async with DaemonProcess(tmp_path, database.dsn, sweep_table()) as daemon:
        held = await daemon.event("sweep_held")
        assert "none of 7 sampled rows" in held["reason"]
        state = {"STATE_DIRECTORY": str(daemon.state)}
        told = await sweeperd("release", "s", f"--config={tmp_path}/sweeperd.toml", **state)
        assert "s is released" in told.out
        released = await daemon.event("sweep_released")
        assert released["user"]
        assert "none of 7 sampled rows" in released["reason"]
        ran = await daemon.event("sweep_ran", outcome="drained")
        assert ran["deleted_count"] == 7
        assert await daemon.end() == 0


async def test_an_operators_hold_outlives_a_restart(database: TestDatabase, tmp_path: Path) -> None:
    await database.execute(ROWS.format(7))
    config = f"--config={tmp_path}/sweeperd.toml"
    async with DaemonProcess(tmp_path, database.dsn, sweep_table(interval="200ms")) as daemon:
        state = {"STATE_DIRECTORY": str(daemon.state)}
        await daemon.event("sweep_ran")
        await sweeperd("hold", "s", "--reason=audit", config, **state)
        await daemon.event("sweep_held", reason="audit")
        assert await daemon.end() == 0
        seen = len(daemon.named("sweep_ran"))
        await daemon.start()
        await daemon.event("sweep_held", reason="audit", count=2)
        assert len(daemon.named("sweep_ran")) <= seen + 1
        await sweeperd("release", "s", config, **state)
        await daemon.event("sweep_ran", count=seen + 3)
        assert await daemon.end() == 0
