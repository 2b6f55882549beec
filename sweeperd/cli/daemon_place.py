"""Where the daemon is, as its files say, even those that cannot be used."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

import tomli

from sweeperd.config.places import default_state_dir
from sweeperd.daemon.control.endpoint import default_socket
from sweeperd.errors import SweeperdError
from sweeperd.host.permissions import read_file

_LARGEST: Final = 4 * 2**20
# also daemon.KEY = "..." and daemon = { KEY = "..." }, but no comment
_LINE: Final = r"""^[^#\n]{0,200}\b%s["']?[ \t]*=[ \t]*["']([^"'\n]{1,4096})["']"""

Key = Literal["state_dir", "socket"]


def find_socket(config_path: Path, state_dir: Path | None = None) -> Path:
    """Return the daemon's control socket, also where the configuration cannot be used.

    Args:
        config_path: The configuration.
        state_dir: The daemon's state directory; None for the configuration's.
    """
    found = written_path(config_path, "socket")
    if found is not None:
        return found
    return default_socket(
        state_dir or written_path(config_path, "state_dir") or default_state_dir(),
    )


def written_path(config_path: Path, key: Key) -> Path | None:
    """Return a path of [daemon] from files that may be wrong otherwise; None where they have none.

    Raises:
        SweeperdError: They name more than one.
    """
    found = {text for path in _files(config_path) for text in _values(path, key)}
    absolute = sorted(text for text in found if text.startswith("/") and "\0" not in text)
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
