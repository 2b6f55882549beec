"""Where the daemon keeps its state, found even with a configuration that cannot be used."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import tomli

from sweeperd.cli.terminal import say
from sweeperd.config.files.loading import load_config
from sweeperd.config.models import SweepConfig, default_state_dir
from sweeperd.daemon.control.endpoint import default_socket
from sweeperd.errors import ConfigError, SweeperdError
from sweeperd.host.files import make_directory
from sweeperd.host.owner import SERVICE_USER, become_owner_of
from sweeperd.host.permissions import read_file

_LARGEST: Final = 4 * 2**20
# also daemon.KEY = "..." and daemon = { KEY = "..." }, but no comment
_LINE: Final = r"""^[^#\n]{0,200}\b%s["']?[ \t]*=[ \t]*["']([^"'\n]{1,4096})["']"""

Key = Literal["state_dir", "socket"]


@dataclass(frozen=True)
class Place:
    """A state directory.

    Attributes:
        state_dir: Where it is.
        sweeps: The configured sweeps; None where the configuration cannot be used.
    """

    state_dir: Path
    sweeps: Mapping[str, SweepConfig] | None = None


def find_place(config_path: Path, given: Path | None) -> Place:
    """Return the state directory of the configuration, or of what can be read of it."""
    try:
        config = load_config(config_path)
    except ConfigError as error:
        state_dir = given or _written(config_path, "state_dir") or default_state_dir()
        say(
            f"the configuration cannot be used ({error.problems[0]}); the state directory is "
            f"{state_dir}",
            err=True,
        )
        return Place(state_dir)
    return Place(given or config.daemon.state_dir, config.sweeps)


def find_socket(config_path: Path, state_dir: Path | None = None) -> Path:
    """Return the daemon's control socket, also where the configuration cannot be used.

    Args:
        config_path: The configuration.
        state_dir: The daemon's state directory; None for the configuration's.
    """
    found = _written(config_path, "socket")
    if found is not None:
        return found
    return default_socket(
        state_dir or _written(config_path, "state_dir") or default_state_dir(),
    )


def own(state_dir: Path, *, make: bool) -> None:
    """Become the user who owns the state directory, and make it if it is missing.

    Raises:
        SweeperdError: It is missing, or cannot be made.
    """
    if not state_dir.is_dir():
        if not make:
            raise SweeperdError(
                f"the state directory {state_dir} does not exist, so nothing is held",
                cure="name the daemon's with --state-dir",
            )
        _make(state_dir)
    become_owner_of(state_dir)


def _make(state_dir: Path) -> None:
    try:
        if make_directory(state_dir) and os.geteuid() == 0:
            # the service's user, where there is one, must be able to use it
            with suppress(KeyError):
                user = pwd.getpwnam(SERVICE_USER)
                os.chown(state_dir, user.pw_uid, user.pw_gid)
    except OSError as error:
        raise SweeperdError(
            f"the state directory {state_dir} cannot be made: {error.strerror}",
            cure="run this as root or as the user that the daemon runs as",
        ) from error


def _written(config_path: Path, key: Key) -> Path | None:
    """Return a path of [daemon] from files that may be wrong otherwise; None where they have none.

    Raises:
        SweeperdError: They name more than one.
    """
    found = {text for path in _files(config_path) for text in _values(path, key)}
    absolute = sorted(text for text in found if text.startswith("/"))
    if len(absolute) > 1:
        what, cure = {
            "state_dir": ("state directory", "name the daemon's with --state-dir"),
            "socket": ("socket", "keep one"),
        }[key]
        raise SweeperdError(
            f"the configuration cannot be used, and names more than one {what}: "
            f"{', '.join(absolute)}",
            cure=cure,
        )
    return Path(absolute[0]) if absolute else None


def _files(config_path: Path) -> list[Path]:
    """Return the configuration's files, as far as they can be listed."""
    drop_ins: list[Path] = []
    with suppress(OSError):
        drop_ins = sorted((config_path.parent / "conf.d").glob("*.toml"))
    return [config_path, *drop_ins]


def _values(path: Path, key: Key) -> list[str]:
    try:
        text = read_file(path, _LARGEST).decode(errors="replace")
    except OSError:
        return []
    try:
        daemon = tomli.loads(text).get("daemon")
    except (ValueError, RecursionError):
        return re.findall(_LINE % key, text, re.MULTILINE)
    found = daemon.get(key) if isinstance(daemon, dict) else None
    return [found] if isinstance(found, str) else []
