"""Root in another user's directory becomes that user first, wherever Python itself lies."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import shutil
import signal
import stat
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from sweeperd.host.owner import become_owner_of
from tests.cli.command import Result, configured, sweep_table
from tests.conftest import TestDatabase
from tests.daemon.process import PATIENCE
from tests.parts import need
from tests.sweep.proxy import Proxy

OWNER = "nobody"
ROWS = (
    "CREATE TABLE t AS SELECT g AS id, now() + CASE WHEN g % 2 = 0 THEN 1 ELSE -1 END * "
    "interval '1 hour' AS expires_at FROM generate_series(1, 100) g"
)
# Tells each module that is asked for after the change: below root's home it could not be read.
LAUNCHER = """
import os, sys
class Late:
    def find_spec(self, name, path=None, target=None):
        if os.geteuid():
            sys.stderr.write(f"LATE IMPORT {name}\\n")
sys.meta_path.insert(0, Late())
sys.argv[0] = "sweeperd"
from sweeperd.cli.main import main
main()
"""

pytestmark = need("root")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """Make a state directory of another user's, on a way that it may go."""
    state = Path("/tmp") / f"swp-state-{os.getpid()}-{tmp_path.name}"
    state.mkdir(mode=0o750)
    shutil.chown(state, OWNER, pwd.getpwnam(OWNER).pw_gid)
    yield state
    shutil.rmtree(state)


@asynccontextmanager
async def reached(database: TestDatabase) -> AsyncIterator[str]:
    """Yield a dsn by which the owner gets to the server, which lets in nobody but root."""
    upstream = Path(database.server.directory) / f".s.PGSQL.{database.server.port}"
    async with Proxy(upstream) as proxy:
        directory = Path(proxy._directory.name)
        for path in (directory, *directory.iterdir()):
            shutil.chown(path, OWNER)
        yield proxy.dsn(database.name)


async def started(*args: str, state: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", LAUNCHER, *args),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "STATE_DIRECTORY": str(state)},
    )


async def ended(process: asyncio.subprocess.Process) -> Result:
    out, err = await process.communicate()
    result = Result(process.returncode or 0, out.decode(), err.decode())
    assert "LATE IMPORT" not in result.err
    assert "Traceback" not in result.err
    return result


def owners(directory: Path) -> set[str]:
    return {pwd.getpwuid(path.lstat().st_uid).pw_name for path in directory.rglob("*")}


async def test_a_foreground_sweep_writes_as_the_owner(
    database: TestDatabase, tmp_path: Path, state: Path
) -> None:
    await database.execute(ROWS)
    async with reached(database) as dsn:
        option = configured(tmp_path, database, sweep_table(archive_to="file:old"), dsn=dsn)
        tmp_path.chmod(0o700)

        result = await ended(await started("sweep", "--json", option, state=state))

    (report,) = result.reports
    assert (result.code, report["outcome"], report["deleted_count"]) == (0, "drained", 50)
    assert owners(state) == {OWNER}
    assert list((state / "archive" / "old").glob("*.jsonl.gz"))


async def test_the_daemon_runs_reloads_and_stops_as_the_owner(
    database: TestDatabase, tmp_path: Path, state: Path
) -> None:
    await database.execute(ROWS)
    async with reached(database) as dsn:
        option = configured(
            tmp_path, database, sweep_table(interval="1s", archive_to="file:old"),
            sweep_table("bad", "nosuch", interval="1s"), dsn=dsn,
        )  # fmt: skip
        process = await started("run", option, state=state)
        try:
            async with asyncio.timeout(PATIENCE):
                while await database.fetchval("SELECT count(*) FROM t") > 50:
                    assert process.returncode is None
                process.send_signal(signal.SIGHUP)
                process.terminate()
                result = await ended(process)
        finally:
            if process.returncode is None:
                process.kill()

    assert result.code == 0
    assert owners(state) == {OWNER}
    events = [json.loads(line) for line in result.err.splitlines()]
    assert {"daemon_started", "daemon_stopping"} <= {event["event"] for event in events}


async def test_a_password_that_only_root_can_read_is_told_with_the_user(
    database: TestDatabase, tmp_path: Path, state: Path
) -> None:
    await database.execute(ROWS)
    secret = tmp_path / "password"
    secret.write_text("x")
    secret.chmod(0o600)
    path = tmp_path / "sweeperd.toml"
    path.write_text(
        f'[databases.app]\ndsn = "{database.dsn}"\npassword_file = "{secret}"\n{sweep_table()}'
    )

    result = await ended(await started("sweep", "--json", f"--config={path}", state=state))

    assert result.code != 0
    assert "password_file" in result.out
    assert "Permission denied" in result.out
    assert f"the user {OWNER}" in result.out


async def test_links_that_the_owner_laid_lead_root_nowhere(
    database: TestDatabase, tmp_path: Path, state: Path
) -> None:
    await database.execute(ROWS)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    victim.chmod(0o600)
    (state / "archive").symlink_to(tmp_path)
    os.lchown(state / "archive", pwd.getpwnam(OWNER).pw_uid, -1)
    for name in ("state.db", "state.db-wal", "state.sequence", "runs.lock", "lock"):
        (state / name).symlink_to(victim)
    async with reached(database) as dsn:
        option = configured(tmp_path, database, sweep_table(archive_to="file:old"), dsn=dsn)
        before = sorted(tmp_path.rglob("*"))

        for command in ("sweep", "run"):
            process = await started(command, option, state=state)
            assert process.stderr
            first = await process.stderr.readline()  # it has begun, or says why not
            with suppress(ProcessLookupError):
                process.terminate()
            result = await ended(process)
            assert first or result.code

    assert victim.read_text() == "precious"
    assert stat.S_IMODE(victim.stat().st_mode) == 0o600
    assert victim.stat().st_uid == 0
    assert sorted(tmp_path.rglob("*")) == before
    assert await database.fetchval("SELECT count(*) FROM t") == 100


def test_it_has_no_effect_in_roots_own_directory_or_a_shared_one(tmp_path: Path) -> None:
    assert not become_owner_of(tmp_path)
    assert not become_owner_of(tmp_path / "missing" / "deeper")
    assert not become_owner_of(Path("/tmp/missing"))
    assert os.geteuid() == 0
