"""Asked before every batch: is the sweep held? A hold is in force once no batch is under way.

A batch holds a shared lock on the sweep's lock file while it works. Whoever sets a hold writes
it first and then takes the lock exclusively, which waits for the batch; every later batch finds
the hold. The kernel drops the lock of a process that dies.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sweeperd.config.models import SweepConfig
from sweeperd.host.files import open_directory
from sweeperd.sweep.guards.hold_file import LOCKS, Hold, Holds
from sweeperd.sweep.outcome.report import RunEndError

_LOCK: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_RETRY_SECONDS: Final = 0.01
# without room or leave to make the lock file nobody can set a hold there either
_CANNOT_BE_MADE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES})


@dataclass(frozen=True)
class Gate:
    """Lets the batches of one sweep through, one after the other or side by side.

    Attributes:
        holds: The holds of the state directory.
        sweep: The sweep.
    """

    holds: Holds
    sweep: SweepConfig

    def check(self) -> None:
        """Raise RunEndError when the sweep is held."""
        hold = self.holds.find(self.sweep)
        if hold is not None:
            raise held(hold)

    @asynccontextmanager
    async def batch(self) -> AsyncIterator[None]:
        """Keep a hold from being answered while a batch is under way.

        Raises:
            RunEndError: The sweep is held.
        """
        try:
            lock = _open_lock(self.holds.state_dir, self.sweep.name)
        except OSError as error:
            raise RunEndError(
                "held", f"the lock file of batches cannot be opened: {error}"
            ) from error
        try:
            while lock is not None and not _lock(lock, fcntl.LOCK_SH):
                self.check()
                await asyncio.sleep(_RETRY_SECONDS)
            self.check()
            yield
        finally:
            if lock is not None:
                os.close(lock)


def held(hold: Hold) -> RunEndError:
    """Return how a run ends for a hold."""
    by = f" by {hold.by}" if hold.by else ""
    return RunEndError("held", f"held{by}: {hold.reason}" if hold.reason else f"held{by}")


def try_exclusive(state_dir: Path, name: str) -> bool:
    """Tell whether no batch of the sweep is under way; to be asked after its hold was written.

    Raises:
        OSError: The lock file cannot be opened.
    """
    lock = _open_lock(state_dir, name)
    if lock is None:
        return True
    try:
        return _lock(lock, fcntl.LOCK_EX)
    finally:
        os.close(lock)


def _open_lock(state_dir: Path, name: str) -> int | None:
    """Open the sweep's lock file; None where it cannot be made.

    Raises:
        OSError: It is there and cannot be opened, or this process may open no more files.
    """
    try:
        with open_directory(state_dir / LOCKS, make=state_dir.is_dir()) as directory:
            descriptor = os.open(name, _LOCK, 0o640, dir_fd=directory)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in _CANNOT_BE_MADE:
            return None
        raise
    with suppress(OSError):
        os.fchmod(descriptor, 0o640)
    return descriptor


def _lock(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
