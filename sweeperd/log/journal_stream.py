"""Whether a stream leads to the journal, and its priorities; for commands, which load little."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final, TextIO

PRIORITIES: Final = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}


def is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Tell whether the stream is connected to the journal (systemd.exec(5), JOURNAL_STREAM)."""
    device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(stream.fileno())
        return (int(device), int(inode)) == (status.st_dev, status.st_ino)
    except (OSError, ValueError):
        return False
