"""Where the daemon keeps its state, found even with a configuration that cannot be used."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sweeperd.cli.daemon_place import written_path
from sweeperd.cli.terminal import say
from sweeperd.config.files.loading import load_config
from sweeperd.config.models import SweepConfig
from sweeperd.config.places import default_state_dir
from sweeperd.errors import ConfigError, SweeperdError
from sweeperd.host.files import make_directory
from sweeperd.host.owner import SERVICE_USER, become_owner_of


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
        state_dir = given or written_path(config_path, "state_dir") or default_state_dir()
        say(
            f"the configuration cannot be used ({error.problems[0]}); the state directory is "
            f"{state_dir}",
            err=True,
        )
        return Place(state_dir)
    return Place(given or config.daemon.state_dir, config.sweeps)


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
