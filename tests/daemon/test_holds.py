"""A hold is absolute: whatever happens to processes, files and configuration, no held row goes."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sweeperd.config.models import SweepConfig
from sweeperd.host.clock import SystemClock
from sweeperd.requests import Request, drop_request
from sweeperd.sweep.guards.hold_file import ALL, HOLDS, Hold, Holds, policy_of
from tests.cli.command import SWEEPERD, Result, configured, sweep_table, sweeperd
from tests.conftest import TestDatabase
from tests.daemon.process import DaemonProcess
from tests.parts import need

FILL = (
    "CREATE TABLE t (id int PRIMARY KEY, expires_at timestamptz);"
    "INSERT INTO t SELECT g, now() + (g - 500.5) * interval '1 hour' "
    "FROM generate_series(1, 1000) g"
)
EXPIRED = 500
SWEEP = SweepConfig(name="s", database="app", table="t", column="expires_at", keep=timedelta(0))
DAMAGE = {
    "empty": b"",
    "noise": os.urandom(300),
    "newer": b'{"version": 99, "sweeps": {}}',
    "deep": b"[" * 100_000,
    "types": b'{"version": 1, "sweeps": {"s": {"memory": {"guard": 7, "gone": []}}}}',
}


async def expired(database: TestDatabase) -> int:
    return int(await database.fetchval("SELECT count(*) FROM t WHERE expires_at <= now()"))


@pytest.fixture
def state() -> Iterator[Path]:
    """A state directory that its owner can reach, unlike one below pytest's."""
    with tempfile.TemporaryDirectory(dir="/tmp") as above:
        Path(above).chmod(0o755)
        made = Path(above) / "state"
        made.mkdir(mode=0o750)
        yield made


@pytest.fixture
def holds(state: Path) -> Holds:
    return Holds(state, SystemClock().now)


@pytest.fixture
async def filled(database: TestDatabase) -> TestDatabase:
    await database.execute(FILL)
    return database


async def command(state: Path, *args: str) -> Result:
    return await sweeperd(*args, STATE_DIRECTORY=str(state))


def test_whatever_has_the_name_of_a_hold_holds(holds: Holds, state: Path) -> None:
    holds.place(Hold("other", "so that there is a directory"))
    place = state / HOLDS / "s"
    for content in DAMAGE.values():
        place.write_bytes(content)
        found = holds.find(SWEEP)
        assert found is not None
        assert not found.is_readable
        place.unlink()
    place.symlink_to("/nonexistent")
    assert holds.find(SWEEP) is not None
    place.unlink()
    os.mkfifo(place)
    assert holds.find(SWEEP) is not None
    place.unlink()
    place.mkdir()
    assert holds.find(SWEEP) is not None
    placed = holds.place(Hold("s", "anew"))
    assert placed.reason == "anew"
    assert holds.release("s", "test") == placed
    assert holds.find(SWEEP) is None


@pytest.mark.parametrize("how", ["file", "link"])
def test_a_directory_of_holds_that_cannot_be_read_holds_everything(
    holds: Holds, state: Path, how: str
) -> None:
    if how == "file":
        (state / HOLDS).write_text("")
    else:
        (state / HOLDS).symlink_to(state / "missing")

    assert holds.find(SWEEP) is not None


def test_a_hold_is_never_shortened(holds: Holds) -> None:
    now = datetime.now(UTC)
    holds.place(Hold("s", "guard's", by="guard", kinds=("jump",), until=now + timedelta(hours=2)))

    placed = holds.place(Hold("s", "operator's", by="alice", until=now + timedelta(hours=1)))

    assert placed.until == now + timedelta(hours=2)
    assert placed.kinds == ("jump",)
    assert "guard's" in placed.reason
    assert holds.place(Hold("s", "for ever")).until is None


def test_a_hold_of_all_binds_each_sweep(holds: Holds) -> None:
    holds.place(Hold(ALL, "migration"))

    assert holds.find(SWEEP) is not None
    holds.release(ALL, "test")
    assert holds.find(SWEEP) is None


def test_a_renamed_sweep_stays_held(holds: Holds) -> None:
    renamed = SWEEP.model_copy(update={"name": "renamed"})
    other = SWEEP.model_copy(update={"name": "other", "table": "u"})
    holds.configured = {"renamed", "other"}
    holds.place(Hold("s", "legal", policy=policy_of(SWEEP)))

    found = holds.find(renamed)

    assert found is not None
    assert found.name == "s"
    assert holds.find(other) is None


def test_a_hold_without_a_known_policy_binds_a_sweep_without_history(holds: Holds) -> None:
    holds.configured = {"renamed", "old"}
    holds.has_history = lambda name: name == "old"
    holds.place(Hold("s", "legal"))

    assert holds.find(SWEEP.model_copy(update={"name": "renamed"})) is not None
    assert holds.find(SWEEP.model_copy(update={"name": "old"})) is None


def test_the_former_interface_sets_and_removes_holds(holds: Holds, state: Path) -> None:
    drop_request(state, Request("hold", "s", "audit"))
    assert holds.find(SWEEP) is not None
    drop_request(state, Request("release", "s"))
    assert holds.find(SWEEP) is None


@pytest.mark.parametrize("damage", ["toml", "value", "missing"])
async def test_a_hold_needs_no_valid_configuration(
    filled: TestDatabase, tmp_path: Path, state: Path, damage: str
) -> None:
    option = configured(tmp_path, filled)
    path = tmp_path / "sweeperd.toml"
    good = f"[daemon]\nstate_dir = {json.dumps(str(state))}\n" + path.read_text()
    path.write_text(good + {"toml": "[[[", "value": 'workers = "x"\n', "missing": ""}[damage])
    environ = {"STATE_DIRECTORY": "/nonexistent"}
    if damage == "missing":
        path.unlink()
        environ["STATE_DIRECTORY"] = str(state)

    result = await sweeperd("hold", "s", option, **environ)
    path.write_text(good)
    swept = await sweeperd("sweep", option, **environ)

    assert result.code == 0, result
    assert (swept.code, await expired(filled)) == (1, EXPIRED)


async def test_check_tells_of_a_held_sweep(
    filled: TestDatabase, tmp_path: Path, state: Path
) -> None:
    option = configured(tmp_path, filled)
    await command(state, "hold", "s", "--reason", "legal asks", option)

    result = await command(state, "check", option)

    assert result.code == 1
    assert "legal asks" in result.out
    assert "sweeperd release s" in result.out


async def test_a_hold_with_an_end_time_ends(
    filled: TestDatabase, tmp_path: Path, state: Path, holds: Holds
) -> None:
    option = configured(tmp_path, filled)
    assert (await command(state, "hold", "s", "--until", "1h", option)).code == 0
    assert (await command(state, "sweep", option)).code == 1
    held = holds.find(SWEEP)
    assert held is not None
    assert held.until is not None
    holds.now = lambda: held.until  # type: ignore[assignment,return-value]
    assert holds.find(SWEEP) is None


async def test_a_bad_end_time_or_name_is_refused(state: Path) -> None:
    for args in (("s", "--until", "yesterday"), ("s", "--until", "2020-01-01"), ("../x",), ()):
        result = await command(state, "hold", *args)
        assert result.code == 2, args
    assert list(state.iterdir()) == []


@need("root")
@pytest.mark.parametrize("umask", [0, 0o077, 0o777])
async def test_roots_hold_is_seen_by_the_services_user_whatever_the_umask(
    filled: TestDatabase, tmp_path: Path, state: Path, umask: int
) -> None:
    option = configured(tmp_path, filled)
    shutil.chown(state, "games", "games")
    process = await asyncio.create_subprocess_exec(
        *SWEEPERD, "hold", "s", "--reason", "why", f"--state-dir={state}", option,
        preexec_fn=lambda: os.umask(umask), cwd="/",
    )  # fmt: skip
    assert await process.wait() == 0

    seen = await asyncio.create_subprocess_exec(
        "setpriv", "--reuid=games", "--regid=games", "--clear-groups",
        "/bin/cat", str(state / HOLDS / "s"), stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await seen.communicate()

    assert {path.owner() for path in state.rglob("*")} == {"games"}
    assert b"why" in out


@need("root")
async def test_nothing_that_is_laid_under_a_foreseeable_name_is_followed(
    filled: TestDatabase, tmp_path: Path, state: Path
) -> None:
    option = configured(tmp_path, filled)
    shutil.chown(state, "games", "games")
    victim = tmp_path / "victim"
    victim.write_text("precious")
    victim.chmod(0o600)
    for folder in (HOLDS, "locks", "released"):
        (state / folder).mkdir()
        shutil.chown(state / folder, "games", "games")
        (state / folder / "s").symlink_to(victim)

    for name in ("hold", "release"):
        await command(state, name, "s", option)

    assert victim.read_text() == "precious"
    assert (victim.stat().st_uid, victim.stat().st_mode & 0o777) == (0, 0o600)


@pytest.mark.parametrize("stopped", [False, True])
async def test_no_row_goes_once_hold_has_answered(
    database: TestDatabase, tmp_path: Path, *, stopped: bool
) -> None:
    await database.execute(
        "CREATE TABLE t AS SELECT g AS id, now() + (g - 20000.5) * interval '1 min' AS expires_at "
        "FROM generate_series(1, 40000) g"
    )
    table = sweep_table(max_batch_rows=100, rate_limit=2000, timeout="1h")
    async with DaemonProcess(tmp_path, database.dsn, table) as daemon:
        state = {"STATE_DIRECTORY": str(daemon.state)}
        config = f"--config={tmp_path}/sweeperd.toml"
        async with asyncio.timeout(20):
            while await expired(database) > 19_500:
                pass
        if stopped:
            daemon.process.send_signal(signal.SIGSTOP)
        result = await sweeperd("hold", "s", config, **state)
        after = await expired(database)
        if stopped:
            daemon.process.send_signal(signal.SIGCONT)
        await daemon.event("sweep_held", sweep="s")
        await daemon.event("sweep_ran", outcome="held")

        if result.code == 0:
            assert await expired(database) == after
        assert await daemon.end() == 0


@pytest.mark.parametrize("damage", DAMAGE)
async def test_damage_to_any_file_of_a_killed_daemon_lets_no_held_row_go(
    filled: TestDatabase, tmp_path: Path, damage: str
) -> None:
    daemon = DaemonProcess(tmp_path, filled.dsn, sweep_table(interval="200ms"))
    config = f"--config={tmp_path}/sweeperd.toml"
    state = {"STATE_DIRECTORY": str(daemon.state)}
    await sweeperd("hold", "s", config, **state)
    async with daemon:
        await daemon.event("sweep_held", sweep="s")
        daemon.process.kill()
        await daemon.process.wait()
        as_it_was = tmp_path / "as it was"
        (daemon.state / "control.sock").unlink()  # which cannot be copied, and is made anew
        shutil.copytree(daemon.state, as_it_was)
        for path in [path for path in daemon.state.rglob("*") if path.is_file()]:
            path.write_bytes(DAMAGE[damage])
            told = len(daemon.named("sweep_held"))
            await daemon.start()
            await daemon.event("sweep_held", sweep="s", count=told + 1)
            daemon.process.kill()
            await daemon.process.wait()
            assert (await sweeperd("sweep", config, **state)).code == 1
            assert await expired(filled) == EXPIRED
            shutil.rmtree(daemon.state)
            shutil.copytree(as_it_was, daemon.state)


async def test_damaged_state_holds_every_sweep_and_a_release_ends_it(
    filled: TestDatabase, tmp_path: Path, state: Path
) -> None:
    option = configured(tmp_path, filled)
    (state / "state.db").write_bytes(b"")

    held = await command(state, "sweep", option)
    await command(state, "release", "s", option)
    (state / "state.db").unlink()
    swept = await command(state, "sweep", option)

    assert held.code == 1
    assert "the state of earlier runs cannot be read" in held.err + held.out
    assert (swept.code, await expired(filled)) == (0, 0)


async def test_holds_of_an_earlier_versions_state_are_taken_over(
    filled: TestDatabase, tmp_path: Path, state: Path
) -> None:
    option = configured(tmp_path, filled)
    record = {"held": "legal", "held_by": "operator"}
    (state / "state.json").write_text(json.dumps({"version": 1, "sweeps": {"s": record}}))

    held = await command(state, "sweep", option)
    released = await command(state, "release", "s", option)
    swept = await command(state, "sweep", option)

    assert (held.code, released.code, swept.code) == (1, 0, 0)
    assert "legal" in held.err
    assert await expired(filled) == 0


def test_a_policy_is_the_same_with_and_without_the_schema_public() -> None:
    assert policy_of(SWEEP) == policy_of(SWEEP.model_copy(update={"table": "public.t"}))
