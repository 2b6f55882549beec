"""The lock of one sweep's run: whoever has it saves what the run learned.

The daemon's run and a foreground run of one sweep may meet; the advisory lock of each batch keeps
them apart on the server, and this one in the state directory. It is a byte of one file, as in
`batch_lock`, for the whole run.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from sweeperd.sweep.guards.batch_lock import lock_byte

RUN_LOCK: Final = "runs.lock"
_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FILE_MODE: Final = 0o640


@contextmanager
def run_lock(directory: Path, sweep: str) -> Iterator[bool]:
    """Take the lock of a sweep's run; yield whether it was free.

    Raises:
        OSError: Nothing can be locked here.
    """
    descriptor = os.open(directory / RUN_LOCK, _FLAGS, _FILE_MODE)
    try:
        with suppress(OSError):
            os.fchmod(descriptor, _FILE_MODE)  # whatever the umask is
        # closing the descriptor unlocks
        yield lock_byte(descriptor, fcntl.F_WRLCK, sweep)
    finally:
        os.close(descriptor)
