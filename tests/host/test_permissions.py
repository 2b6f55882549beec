"""What others could have written is refused, with a command that mends it as it is printed."""

from __future__ import annotations

import grp
import os
import pwd
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeperd.config.files.loading import load_config
from sweeperd.errors import ConfigError
from sweeperd.host.files import open_directory, read_small
from sweeperd.host.permissions import ExposedError, exposures, read_file, refuse_exposed
from tests.cli.command import result_of, start, sweeperd
from tests.parts import need

GOOD = '[databases.a]\ndsn = "postgresql://u@127.0.0.1:1/db"\n'
SECRET = GOOD.replace("u@", "u:pw@")
SWEEP = '[sweeps.x]\ntable = "t"\ncolumn = "c"\nkeep = "0s"\n'


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Make a directory with a configuration in the main file and in conf.d."""
    directory = tmp_path / "etc"
    (directory / "conf.d").mkdir(parents=True)
    for path, text in ((directory / "sweeperd.toml", GOOD), (directory / "conf.d/a.toml", SWEEP)):
        path.write_text(text)
        path.chmod(0o644)
    directory.chmod(0o755)
    (directory / "conf.d").chmod(0o755)
    return directory


def mode(name: str, bits: int) -> Callable[[Path], None]:
    return lambda place: (place / name).chmod(bits)


def group(name: str, bits: int, gid: int | None) -> Callable[[Path], None]:
    def change(place: Path) -> None:
        other = next(one.gr_gid for one in grp.getgrall() if one.gr_gid not in {0, os.getegid()})
        os.chown(place / name, -1, other if gid is None else gid)
        (place / name).chmod(bits)

    return change


def owner(name: str, user: str) -> Callable[[Path], None]:
    return lambda place: os.chown(place / name, pwd.getpwnam(user).pw_uid, -1)


def linked(target: str) -> Callable[[Path], None]:
    """Put the main file elsewhere, behind a link."""

    def change(place: Path) -> None:
        there = place.parent / "elsewhere"
        there.mkdir()
        (place / "sweeperd.toml").rename(there / "sweeperd.toml")
        (place / "sweeperd.toml").symlink_to(there / "sweeperd.toml")
        there.chmod(int(target, 8))

    return change


BAD = {
    "file for all": mode("sweeperd.toml", 0o666),
    "file for all but us": mode("sweeperd.toml", 0o602),
    "part for all": mode("conf.d/a.toml", 0o646),
    "parts for all": mode("conf.d", 0o777),
    "directory for all": mode(".", 0o757),
    "directory above for all": mode("..", 0o777),
    "target's directory for all": linked("0777"),
}
BAD_OF_ROOT = {
    "file of another group": group("sweeperd.toml", 0o664, None),
    "directory of another group": group(".", 0o775, None),
    "file of another user": owner("sweeperd.toml", "nobody"),
    "part of another user": owner("conf.d/a.toml", "games"),
    "parts of another user": owner("conf.d", "nobody"),
    "directory of another user": owner(".", "nobody"),
}
HARMLESS = {
    "readable": mode("sweeperd.toml", 0o644),
    "private": mode("sweeperd.toml", 0o600),
    "own group": group("sweeperd.toml", 0o664, os.getegid()),
    "sticky": mode(".", 0o1777),
    "sticky above": mode("..", 0o1777),
    "linked": linked("0755"),
}


def check_bad(place: Path, change: Callable[[Path], None]) -> None:
    change(place)
    with pytest.raises(ConfigError) as caught:
        load_config(place / "sweeperd.toml")
    for problem in caught.value.problems:
        command = re.search(r"run: (.*)$", problem.message)
        assert command, problem
        subprocess.run(command[1], shell=True, check=True)  # noqa: S602 - as printed
    assert list(load_config(place / "sweeperd.toml").sweeps) == ["x"]


@pytest.mark.parametrize("change", BAD.values(), ids=BAD)
def test_a_configuration_that_others_could_write_is_refused(
    place: Path, change: Callable[[Path], None]
) -> None:
    check_bad(place, change)


@need("root")
@pytest.mark.parametrize("change", BAD_OF_ROOT.values(), ids=BAD_OF_ROOT)
def test_a_configuration_of_others_is_refused(place: Path, change: Callable[[Path], None]) -> None:
    check_bad(place, change)


@pytest.mark.parametrize("change", HARMLESS.values(), ids=HARMLESS)
def test_what_only_we_can_write_is_read(place: Path, change: Callable[[Path], None]) -> None:
    change(place)

    assert list(load_config(place / "sweeperd.toml").sweeps) == ["x"]


async def test_a_password_that_all_can_read_is_warned_about(place: Path) -> None:
    for directory in (place.parent, *place.parent.parents):
        if directory.stat().st_uid == os.geteuid() and directory != Path("/"):
            directory.chmod(directory.stat().st_mode | 0o011)
    path = place / "sweeperd.toml"
    path.write_text(SECRET)

    loud = await sweeperd("check", "--offline", f"--config={path}")
    path.chmod(0o640)
    (place / "conf.d/a.toml").chmod(0o640)
    quiet = await sweeperd("check", "--offline", f"--config={path}")

    assert (loud.code, quiet.code) == (0, 0)
    assert f"{path} can be read by every user of this host" in loud.out
    assert f"chmod o-rwx {path}" in loud.out
    assert "every user" not in quiet.out


async def test_a_password_file_that_all_can_read_is_warned_about(place: Path) -> None:
    for directory in (place.parent, *place.parent.parents):
        if directory.stat().st_uid == os.geteuid() and directory != Path("/"):
            directory.chmod(directory.stat().st_mode | 0o011)
    secret = place / "password"
    secret.write_text("pw")
    secret.chmod(0o644)
    path = place / "sweeperd.toml"
    path.write_text(f'{GOOD}password_file = "{secret}"\n')

    result = await sweeperd("check", "--offline", f"--config={path}")

    assert f"the password_file {secret} of databases.a can be read by every user" in result.out


@pytest.mark.parametrize("bits", [0o777, 0o770, 0o702])
async def test_a_state_directory_that_others_can_write_is_refused(place: Path, bits: int) -> None:
    state = place / "state"
    state.mkdir()
    other = next(one.gr_gid for one in grp.getgrall() if one.gr_gid not in {0, os.getegid()})
    if bits == 0o770:
        if os.geteuid() != 0:
            pytest.skip("needs root")
        os.chown(state, -1, other)
    state.chmod(bits)

    for command in ("run", "sweep"):
        result = await sweeperd(
            command, f"--config={place / 'sweeperd.toml'}", STATE_DIRECTORY=str(state)
        )
        assert result.code == 78, result
        assert f"the state directory cannot be trusted: {state} can be written" in result.err
        assert re.search(rf"run: chmod g\S*-w {state}$", result.err, re.MULTILINE)


@need("root")
def test_a_state_directory_of_another_user_names_that_user(tmp_path: Path) -> None:
    os.chown(tmp_path, pwd.getpwnam("nobody").pw_uid, -1)

    with pytest.raises(ExposedError, match="belongs to the user nobody; run this as root or as"):
        refuse_exposed(tmp_path)


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")

    with pytest.raises(OSError, match="symbolic links"):
        list(exposures(tmp_path / "a"))


async def test_nothing_is_for_others_to_write_whatever_the_umask(place: Path) -> None:
    state = place / "deep" / "deeper" / "state"
    former = os.umask(0)
    try:
        daemon = await start(
            "run", f"--config={place / 'sweeperd.toml'}", STATE_DIRECTORY=str(state)
        )
    finally:
        os.umask(former)
    assert daemon.stderr
    while b"daemon_started" not in await daemon.stderr.readline():
        assert daemon.returncode is None
    daemon.terminate()
    result = await result_of(daemon)

    assert result.code == 0
    made = [place / "deep", *(place / "deep").rglob("*")]
    assert state in made
    assert all(path.stat().st_mode & 0o022 == 0 for path in made)


def test_reading_what_is_no_file_leaves_no_descriptor_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(10):
        with pytest.raises(IsADirectoryError):
            read_file(tmp_path, 10)
        with open_directory(tmp_path.parent) as directory, pytest.raises(OSError, match="regular"):
            read_small(directory, tmp_path.name, 10)

    assert len(list(Path("/proc/self/fd").iterdir())) == before
