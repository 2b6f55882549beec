"""Where things are unless the configuration says otherwise; for commands, which load little."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

DEFAULT_CONFIG: Final = Path("/etc/sweeperd/sweeperd.toml")
DEFAULT_STATE_DIR: Final = Path("/var/lib/sweeperd")


def default_state_dir() -> Path:
    """Return the directory systemd gave us, else the packaged one; read anew at each call."""
    given = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    return Path(given) if given else DEFAULT_STATE_DIR
