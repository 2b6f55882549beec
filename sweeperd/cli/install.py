"""`sweeperd install` and `uninstall`: what the Debian package does, for pip and pipx."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from sweeperd.cli.terminal import say
from sweeperd.errors import SweeperdError
from sweeperd.host.owner import SERVICE_USER

_UNITS: Final = ("sweeperd.service", "sweeperd@.service")
_SHARE: Final = Path("share/sweeperd")
_CATALOG: Final = "sweeperd.catalog"
# where a source lies in the checkout, and below share/sweeperd where a wheel was installed
_FOLDERS: Final = {"sweeperd.toml": "etc", _CATALOG: "etc/journal"}
_HOMES: Final = (Path("/home"), Path("/root"), Path("/run/user"))
_CURE: Final = (
    "install it where the service can read it: PIPX_HOME=/opt/pipx PIPX_BIN_DIR=/usr/local/bin "
    "pipx install --python /usr/bin/python3 'sweeperd[journal]'"
)

_root_option = click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=Path("/"),
    show_default=True,
    help="Write below this directory, as for an image.",
)


@dataclass(frozen=True)
class Target:
    """The system that the service is installed on.

    Attributes:
        root: Its root directory.
    """

    root: Path

    def at(self, path: str) -> Path:
        """Return where an absolute path of the system lies here."""
        return self.root / path.lstrip("/")

    @property
    def is_running(self) -> bool:
        """Whether it is this system, with systemd as its manager."""
        return self.root == Path("/") and Path("/run/systemd/system").is_dir()

    def files(self) -> dict[str, Path]:
        """Return each file that is ours alone, by the name of its source."""
        return {
            **{unit: self.at(f"/etc/systemd/system/{unit}") for unit in _UNITS},
            "sweeperd.sysusers": self.at("/etc/sysusers.d/sweeperd.conf"),
            "sweeperd.tmpfiles": self.at("/etc/tmpfiles.d/sweeperd.conf"),
            _CATALOG: self.at(f"/usr/lib/systemd/catalog/{_CATALOG}"),
        }

    def run(self, program: str, *args: str) -> None:
        """Run one of systemd's programs on it.

        Raises:
            SweeperdError: It is missing, or failed.
        """
        found = shutil.which(program, path="/usr/bin:/usr/sbin:/bin:/sbin")
        if found is None:
            raise SweeperdError(f"{program} is missing", cure="install systemd")
        options = (
            [] if self.root == Path("/") or program == "systemctl" else [f"--root={self.root}"]
        )
        try:
            subprocess.run([found, *options, *args], check=True)  # noqa: S603 - systemd's own
        except subprocess.CalledProcessError as error:
            raise SweeperdError(f"{program} failed with exit code {error.returncode}") from None
        say(f"ran {' '.join([program, *options, *args])}")


@click.command(epilog="Example: sweeperd install --root /mnt/image")
@_root_option
def install(root: Path) -> None:
    """Install the systemd units, the sample and the user, for pip and pipx; as root.

    It tells what it did. A configuration that exists stays as it is, and nothing is started.
    """
    target = _target(root)
    program = Path(sys.prefix, "bin", "sweeperd")
    _refuse_homes(program)
    for name, path in target.files().items():
        text = _source(name).read_text().replace("/usr/bin/sweeperd", str(program))
        _write(path, text, 0o644)
    # bare names are looked for below --root, paths are not
    target.run("systemd-sysusers", "sweeperd.conf")
    _configuration(target)
    target.run("systemd-tmpfiles", "--create", "sweeperd.conf")
    target.run("journalctl", "--update-catalog")
    if target.is_running:
        target.run("systemctl", "daemon-reload")
    say("next: edit /etc/sweeperd/sweeperd.toml, then run systemctl enable --now sweeperd")


@click.command(epilog="Example: sweeperd uninstall")
@_root_option
def uninstall(root: Path) -> None:
    """Stop the service and take away what `sweeperd install` wrote; as root.

    Configuration, state, archives and the user stay, and it says so.
    """
    target = _target(root)
    if target.is_running and target.files()["sweeperd.service"].exists():
        target.run("systemctl", "disable", "--now", "sweeperd.service")
        target.run("systemctl", "stop", "sweeperd@*.service")
    for path in target.files().values():
        if path.exists():
            path.unlink()
            say(f"removed {path}")
    if target.is_running:
        target.run("journalctl", "--update-catalog")
        target.run("systemctl", "daemon-reload")
    for kept in ("/etc/sweeperd", "/var/lib/sweeperd"):
        if target.at(kept).exists():
            say(f"kept {target.at(kept)}")


def _target(root: Path) -> Target:
    if os.geteuid() != 0:
        raise SweeperdError("it writes below /etc", cure="run it as root")
    if Path(sys.prefix) == Path("/usr/lib/sweeperd"):
        raise SweeperdError(
            "the Debian package has installed the service", cure="use apt to change or remove it"
        )
    return Target(root.resolve())


def _refuse_homes(program: Path) -> None:
    """Refuse a program or interpreter that ProtectHome= hides from the service."""
    homes = {*_HOMES, Path.home()} - {Path("/")}
    for path in (program, Path(sys.executable).resolve(), Path(sys.base_prefix).resolve()):
        if homes & set(path.parents):
            raise SweeperdError(
                f"{path} lies below a home directory, which the service cannot see", cure=_CURE
            )


def _source(name: str) -> Path:
    """Return a file that the wheel brought, or that lies in the checkout."""
    checkout = Path(__file__).resolve().parents[2]
    folder = _FOLDERS.get(name, "systemd")
    for base in (checkout, Path(sys.prefix) / _SHARE):
        if (base / folder / name).is_file():
            return base / folder / name
    raise SweeperdError(f"{name} is missing in this installation", cure="install sweeperd anew")


def _configuration(target: Target) -> None:
    group = _group(target)
    for path, mode in (("/etc/sweeperd", 0o750), ("/etc/sweeperd/conf.d", 0o750)):
        _directory(target.at(path), mode, group)
    _directory(target.at("/etc/sweeperd/credentials"), 0o700, 0)
    config = target.at("/etc/sweeperd/sweeperd.toml")
    if config.exists():
        say(f"kept {config}")
        return
    _write(config, _source("sweeperd.toml").read_text(), 0o640)
    os.chown(config, 0, group)


def _group(target: Target) -> int:
    """Return the group of the user that systemd-sysusers has made on the target."""
    if target.root == Path("/"):
        with suppress(KeyError):
            return pwd.getpwnam(SERVICE_USER).pw_gid
    else:
        with suppress(OSError):
            passwd = target.at("/etc/passwd").read_text()
            found = re.search(rf"(?m)^{SERVICE_USER}:[^:]*:\d+:(\d+):", passwd)
            if found is not None:
                return int(found[1])
    raise SweeperdError(f"systemd-sysusers has made no user {SERVICE_USER}")


def _directory(path: Path, mode: int, group: int) -> None:
    if not path.is_dir():
        path.mkdir(parents=True)
        path.chmod(mode)
        os.chown(path, 0, group)
        say(f"made {path}")


def _write(path: Path, text: str, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    say(f"wrote {path}")
