"""Holds between real processes: root and the service's user, runs under way, damaged files."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from sweeperd.config.models import SweepConfig
from sweeperd.host.clock import SystemClock
from sweeperd.sweep.guards.batch_lock import LOCK, BatchesUnderWay, BatchLocks, open_anchor
from sweeperd.sweep.guards.gate import Gate
from sweeperd.sweep.guards.hold_file import ALL, HOLDS, Hold, Holds
from sweeperd.sweep.outcome.report import RunEndError
from tests.cli.command import SWEEPERD, Result, configured, result_of, start, sweep_table, sweeperd
from tests.conftest import TestDatabase
from tests.daemon.process import DaemonProcess
from tests.parts import need
from tests.sweep.proxy import Proxy

USER = "games"
FILL = (
    "CREATE TABLE t (id int PRIMARY KEY, expires_at timestamptz);"
    "INSERT INTO t SELECT g, now() + (g - 500.5) * interval '1 hour' "
    "FROM generate_series(1, 1000) g"
)
MANY = (
    "CREATE TABLE t AS SELECT g AS id, now() + (g - 20000.5) * interval '1 min' AS expires_at "
    "FROM generate_series(1, 40000) g"
)
EXPIRED = 500
PACED: dict[str, int | str] = {"max_batch_rows": 100, "rate_limit": 2000, "timeout": "1h"}


async def expired(database: TestDatabase) -> int:
    return int(await database.fetchval("SELECT count(*) FROM t WHERE expires_at <= now()"))


async def until_rows_go(database: TestDatabase, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(30):
        while await expired(database) > 19_500:
            assert process.returncode is None


@pytest.fixture
def above() -> Iterator[Path]:
    """A directory in which every user can reach a state directory, unlike pytest's own."""
    with tempfile.TemporaryDirectory(dir="/tmp") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture
def state(above: Path) -> Path:
    made = above / "state"
    made.mkdir(mode=0o750)
    return made


@pytest.fixture
async def filled(database: TestDatabase) -> TestDatabase:
    await database.execute(FILL)
    return database


@pytest.fixture
async def reached(filled: TestDatabase) -> AsyncIterator[str]:
    """A dsn by which the service's user reaches the server, which lets in its own only."""
    upstream = Path(filled.server.directory) / f".s.PGSQL.{filled.server.port}"
    async with Proxy(upstream) as proxy:
        directory = Path(proxy._directory.name)
        for path in (directory, *directory.iterdir()):
            shutil.chown(path, USER)
        yield proxy.dsn(filled.name)


class Daemon(DaemonProcess):
    """The daemon with a state directory that lies elsewhere."""

    def __init__(self, directory: Path, dsn: str, sweeps: str, state: Path) -> None:
        super().__init__(directory, dsn, sweeps)
        self.state = state
        self.config = f"--config={directory}/sweeperd.toml"

    async def run(self, *args: str, umask: int = -1) -> Result:
        return await result_of(
            await asyncio.create_subprocess_exec(
                *SWEEPERD, *args, self.config,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
                umask=umask, env={**os.environ, "STATE_DIRECTORY": str(self.state)},
            )
        )  # fmt: skip


@need("root")
@pytest.mark.parametrize("umask", [0, 0o077, 0o777])
async def test_roots_hold_and_release_reach_the_daemon_of_another_user(
    filled: TestDatabase, reached: str, tmp_path: Path, state: Path, umask: int
) -> None:
    shutil.chown(state, USER, pwd.getpwnam(USER).pw_gid)
    daemon = Daemon(tmp_path, reached, sweep_table(interval="200ms"), state)

    assert (await daemon.run("hold", "s", "--reason=legal", umask=umask)).code == 0
    async with daemon:
        held = await daemon.event("sweep_held", sweep="s")
        assert (held["reason"], held["by"]) == ("legal", "root")
        assert (await daemon.run("sweep", umask=umask)).code == 1
        assert await expired(filled) == EXPIRED
        assert (await daemon.run("release", "s", umask=umask)).code == 0
        await daemon.event("sweep_ran", deleted_count=EXPIRED)
        assert await daemon.end() == 0

    assert {path.owner() for path in state.rglob("*")} == {USER}


@pytest.mark.parametrize("umask", [0, 0o777])
async def test_a_hold_makes_the_state_directory_that_a_fresh_install_lacks(
    filled: TestDatabase, tmp_path: Path, above: Path, umask: int
) -> None:
    daemon = Daemon(tmp_path, filled.dsn, sweep_table(interval="200ms"), above / "new" / "state")

    assert (await daemon.run("hold", "s", umask=umask)).code == 0
    async with daemon:
        await daemon.event("sweep_held", sweep="s")
        assert await daemon.end() == 0

    assert await expired(filled) == EXPIRED
    assert daemon.state.stat().st_mode & 0o777 == 0o750
    assert daemon.state.parent.stat().st_mode & 0o777 == 0o755


async def test_a_sweep_that_was_held_while_disabled_or_missing_is_held_after_a_reload(
    filled: TestDatabase, tmp_path: Path, state: Path
) -> None:
    await filled.execute("CREATE TABLE u AS TABLE t")
    off = sweep_table(interval="200ms", enabled=False).replace('"False"', "false")
    daemon = Daemon(tmp_path, filled.dsn, off, state)
    async with daemon:
        await daemon.event("daemon_started")
        first = await daemon.run("hold", "s")
        second = await daemon.run("hold", "later")
        daemon.write(sweep_table(interval="200ms") + sweep_table("later", "u"))
        daemon.send(signal.SIGHUP)
        await daemon.event("sweep_held", sweep="s")
        await daemon.event("sweep_held", sweep="later")
        assert await daemon.end() == 0

    assert (first.code, second.code) == (0, 0)
    assert "no sweep is called later" in second.err
    assert not daemon.named("sweep_started")


@pytest.mark.parametrize("how", ["reload", "restart", "foreground"])
@pytest.mark.parametrize("broken", [False, True])
async def test_renaming_a_held_sweep_lets_no_row_go(
    filled: TestDatabase, tmp_path: Path, state: Path, how: str, *, broken: bool
) -> None:
    await filled.execute("CREATE TABLE u AS SELECT * FROM t WHERE expires_at > now()")
    other = sweep_table("other", "u", interval="200ms")
    daemon = Daemon(tmp_path, filled.dsn, sweep_table(interval="200ms") + other, state)
    async with daemon:
        await daemon.event("sweep_ran", sweep="s", outcome="drained")
        await daemon.event("sweep_ran", sweep="other")
        if broken:  # then the command cannot know what the sweep does; its record does
            daemon.write("nonsense")
        assert (await daemon.run("hold", "s", f"--state-dir={state}")).code == 0
        await daemon.event("sweep_held", sweep="s")
        await filled.execute("TRUNCATE t; INSERT INTO t VALUES (0, now() - interval '1 hour')")
        if how != "reload":
            assert await daemon.end() == 0
        daemon.write(sweep_table("renamed", interval="200ms") + other)
        if how == "reload":
            daemon.send(signal.SIGHUP)
        elif how == "restart":
            await daemon.start()
        if how == "foreground":
            assert (await daemon.run("sweep", "renamed")).code == 1
        else:
            held = await daemon.event("sweep_held", sweep="renamed")
            assert held["release"] == "sweeperd release s"
            ran = len(daemon.named("sweep_ran", sweep="other"))
            await daemon.event("sweep_ran", sweep="other", count=ran + 2)
        assert (await daemon.run("release", "renamed")).code == 1
        assert (await daemon.run("check")).code == 1
        if how != "foreground":
            assert await daemon.end() == 0

    assert not daemon.named("sweep_started", sweep="renamed")
    assert await filled.fetchval("SELECT count(*) FROM t") == 1


@pytest.mark.parametrize("stopped", [False, True])
@pytest.mark.parametrize("every", [False, True])
async def test_no_row_goes_in_a_foreground_run_once_hold_has_answered(
    database: TestDatabase, tmp_path: Path, above: Path, *, stopped: bool, every: bool
) -> None:
    await database.execute(MANY)
    state = above / "state"
    option = configured(tmp_path, database, sweep_table("s", "t", workers=2, **PACED))
    environ = {"STATE_DIRECTORY": str(state)}
    run = await start("sweep", option, "--json", **environ)
    await until_rows_go(database, run)
    if stopped:
        run.send_signal(signal.SIGSTOP)

    result = await sweeperd("hold", "--all" if every else "s", option, **environ)
    after = await expired(database)
    if stopped:
        run.send_signal(signal.SIGCONT)
    ran = await result_of(run)

    assert (ran.code, ran.reports[0]["outcome"]) == (1, "held")
    assert ran.err.count("sweep_ran") == 1
    if result.code == 0:
        assert await expired(database) == after


@need("root")
async def test_a_process_that_cannot_make_its_lock_file_is_waited_for(
    filled: TestDatabase, reached: str, tmp_path: Path, state: Path
) -> None:
    (state / LOCK).touch(mode=0o400)
    shutil.chown(state, USER, pwd.getpwnam(USER).pw_gid)
    await filled.execute(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_sleep(0.02); RETURN OLD; END $$;"
        "CREATE TRIGGER slow BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION slow()"
    )
    daemon = Daemon(tmp_path, reached, sweep_table(timeout="1h"), state)
    async with daemon:
        async with asyncio.timeout(20):
            while await expired(filled) == EXPIRED:
                assert daemon.process.returncode is None
        assert (await daemon.run("hold", "s")).code == 0
        after = await expired(filled)
        await daemon.event("sweep_ran", outcome="held")
        assert await daemon.end() == 0

    assert await expired(filled) == after > 0


async def test_a_batch_that_does_not_end_is_told_with_its_process(
    filled: TestDatabase, tmp_path: Path, state: Path
) -> None:
    option = configured(tmp_path, filled)
    with BatchLocks(state).batch("s") as try_lock:
        assert try_lock()
        result = await sweeperd("hold", "s", option, STATE_DIRECTORY=str(state))

    assert result.code == 1
    assert f"process {os.getpid()} " in result.err
    assert (state / HOLDS / "s").is_file()


@pytest.mark.parametrize("what", ["link", "directory", "fifo"])
async def test_whatever_lies_where_the_lock_file_should_be_no_held_row_goes(
    filled: TestDatabase, tmp_path: Path, state: Path, what: str
) -> None:
    option = configured(tmp_path, filled)
    environ = {"STATE_DIRECTORY": str(state)}
    place = state / LOCK
    if what == "link":
        place.symlink_to("/etc/hostname")
    elif what == "directory":
        place.mkdir()
    elif what == "fifo":
        os.mkfifo(place)

    held = await sweeperd("hold", "s", option, **environ)
    swept = await sweeperd("sweep", option, **environ)

    assert (held.code, swept.code) == (0, 1)
    assert await expired(filled) == EXPIRED


@pytest.mark.parametrize("what", ["directory", "fifo", "link", "loop"])
async def test_whatever_lies_where_the_state_should_be_holds_until_it_is_released(
    filled: TestDatabase, tmp_path: Path, state: Path, what: str
) -> None:
    place = state / "state.db"
    if what == "directory":
        place.mkdir()
    elif what == "fifo":
        os.mkfifo(place)
    elif what == "link":
        place.symlink_to("/dev/zero")
    else:
        place.symlink_to(place)
    daemon = Daemon(tmp_path, filled.dsn, sweep_table(), state)
    assert (await daemon.run("check")).code == 1
    assert (await daemon.run("sweep")).code == 1
    async with daemon:
        await daemon.notify.until("READY=1")
        await daemon.event("sweep_held", sweep="s")
        assert await expired(filled) == EXPIRED
        assert (await daemon.run("release", "s")).code == 0
        await daemon.event("sweep_ran", deleted_count=EXPIRED)
        assert await daemon.end() == 0


async def test_a_release_lets_a_foreground_run_pass_damaged_state_without_a_daemon(
    filled: TestDatabase, tmp_path: Path, state: Path
) -> None:
    option = configured(tmp_path, filled)
    environ = {"STATE_DIRECTORY": str(state)}
    (state / "state.json").write_text("{")

    assert (await sweeperd("release", "s", option, **environ)).code == 0
    swept = await sweeperd("sweep", option, **environ)
    again = await sweeperd("sweep", option, **environ)

    assert (swept.code, again.code) == (0, 0)
    assert await expired(filled) == 0


async def test_an_earlier_versions_holds_are_taken_over_once_whatever_was_held_before(
    filled: TestDatabase, tmp_path: Path, state: Path
) -> None:
    option = configured(tmp_path, filled)
    environ = {"STATE_DIRECTORY": str(state)}
    Holds(state, SystemClock().now).place(
        Hold("another", "there is a directory already", policy="another table's")
    )
    record = {"held": "legal", "held_by": "operator"}
    (state / "state.json").write_text(json.dumps({"version": 1, "sweeps": {"s": record}}))

    held = await sweeperd("sweep", option, **environ)
    released = await sweeperd("release", "s", option, **environ)
    swept = await sweeperd("sweep", option, **environ)

    assert (held.code, released.code, swept.code) == (1, 0, 0), (held, released, swept)
    assert "legal" in held.err


async def test_a_hold_that_waited_for_an_earlier_version_is_taken_over(
    filled: TestDatabase, tmp_path: Path, state: Path
) -> None:
    (state / "requests").mkdir()
    (state / "requests" / "s.hold").write_text('{"reason": "legal"}')
    (state / "requests" / "other.release").write_text("{}")
    daemon = Daemon(tmp_path, filled.dsn, sweep_table(), state)

    async with daemon:
        held = await daemon.event("sweep_held", sweep="s")
        assert "legal" in held["reason"]
        assert (await daemon.run("release", "s")).code == 0
        await daemon.event("sweep_ran", deleted_count=EXPIRED)
        assert await daemon.end() == 0


@need("root")
async def test_requests_of_an_earlier_version_that_cannot_be_listed_hold_every_sweep(
    filled: TestDatabase, reached: str, tmp_path: Path, state: Path
) -> None:
    (state / "requests").mkdir(mode=0o750)  # as root's umask left it
    (state / "requests" / "s.hold").write_text("{}")
    shutil.chown(state, USER, pwd.getpwnam(USER).pw_gid)
    daemon = Daemon(tmp_path, reached, sweep_table(), state)

    async with daemon:
        held = await daemon.event("sweep_held", sweep="s")
        assert held["release"] == "sweeperd release --all"
        assert (await daemon.run("release", "--all")).code == 0
        await daemon.event("sweep_ran", deleted_count=EXPIRED)
        assert await daemon.end() == 0


async def test_a_reload_never_removes_a_hold(
    filled: TestDatabase, tmp_path: Path, state: Path
) -> None:
    daemon = Daemon(tmp_path, filled.dsn, sweep_table(interval="200ms"), state)
    assert (await daemon.run("hold", "s")).code == 0
    async with daemon:
        await daemon.event("sweep_held", sweep="s")
        for number, sweeps in enumerate(("", sweep_table(), "", sweep_table(keep="1s"))):
            daemon.write(sweeps)
            daemon.send(signal.SIGHUP)
            await daemon.event("config_reloaded", count=number + 1)
        assert await daemon.end() == 0

    assert not daemon.named("sweep_started")
    assert await expired(filled) == EXPIRED


@pytest.mark.parametrize("where", ["drop-in", "dotted", "inline"])
async def test_the_state_directory_is_found_in_each_form_of_a_broken_configuration(
    filled: TestDatabase, tmp_path: Path, state: Path, where: str
) -> None:
    option = configured(tmp_path, filled)
    path = tmp_path / "sweeperd.toml"
    text = json.dumps(str(state))
    lines = {
        "dotted": f"daemon.state_dir = {text}\n[[[",
        "inline": f"daemon = {{ log_level = 'info', state_dir = {text} }}\n[[[",
        "drop-in": "[[[",
    }
    path.write_text(lines[where])
    if where == "drop-in":
        (tmp_path / "conf.d").mkdir()
        (tmp_path / "conf.d" / "a.toml").write_text(f"[daemon]\nstate_dir = {text}\n")

    result = await sweeperd("hold", "s", option)

    assert result.code == 0, result
    assert (state / HOLDS / "s").is_file()


async def test_a_broken_configuration_with_two_state_directories_asks_which(
    tmp_path: Path, state: Path
) -> None:
    path = tmp_path / "sweeperd.toml"
    path.write_text(f'[daemon]\nstate_dir = "{state}"\nstate_dir = "/elsewhere"\n')

    result = await sweeperd("hold", "s", f"--config={path}")

    assert result.code != 0
    assert "--state-dir" in result.err
    assert not list(state.iterdir())


def test_a_hold_over_one_that_cannot_be_read_has_no_end(state: Path) -> None:
    holds = Holds(state, SystemClock().now)
    holds.place(Hold("s", "first"))
    (state / HOLDS / "s").write_text("damaged")

    assert holds.place(Hold("s", "second", until=holds.now())).until is None


@need("root")
def test_a_hold_of_a_guard_that_could_not_be_written_is_written_later(state: Path) -> None:
    sweep = SweepConfig(name="s", database="app", table="t", condition="a")
    holds = Holds(state, SystemClock().now)
    (state / HOLDS).write_text("")
    assert holds.place_or_keep(Hold("s", "jump", by="guard"))
    assert holds.place_or_keep(Hold(ALL, "state", by="guard"))
    (state / HOLDS).unlink()
    assert holds.find(sweep) is not None

    holds.write_unwritten()

    assert sorted(holds.names()) == [ALL, "s"]
    holds.release("s", "test")
    holds.release(ALL, "test")
    assert holds.find(sweep) is None


async def test_a_batch_that_began_before_there_was_a_state_directory_is_waited_for(
    above: Path,
) -> None:
    state = above / "not yet" / "state"
    sweep = SweepConfig(name="s", database="app", table="t", condition="a")
    holds = Holds(state, SystemClock().now)
    gate = Gate(holds, sweep)

    async with gate.batch():
        anchor = open_anchor(state)
        holds.place(Hold("s", "legal"))
        batches = BatchesUnderWay(state, ["s"], anchor)
        assert batches.are_left()
        assert batches.processes() == [os.getpid()]

    assert not batches.are_left()
    with pytest.raises(RunEndError, match="legal"):
        async with gate.batch():
            pass
