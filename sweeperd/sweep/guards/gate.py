"""Asked before every batch: is the sweep held? A hold is in force once no batch is under way.

A batch holds a shared lock on the sweep's lock file while it works. Whoever sets a hold writes
it first and then takes the lock exclusively, which waits for the batch; every later batch finds
the hold. The kernel drops the lock of a process that dies. A process that cannot make the lock
file locks the state directory instead, or the directory in which that would be made: whoever sets
a hold takes these, too.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sweeperd.config.models import SweepConfig
from sweeperd.host.files import open_directory
from sweeperd.sweep.guards.hold_file import LOCKS, Hold, Holds
from sweeperd.sweep.outcome.report import RunEndError

_LOCK: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_RETRY_SECONDS: Final = 0.01
# the lock file cannot be made or written by this process; another may be able to
_CANNOT_BE_MADE: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}
)
# something else has the lock file's name: no batch can begin at all
_NEVER_A_LOCK: Final = frozenset({errno.ELOOP, errno.EISDIR, errno.ENOTDIR, errno.ENXIO})
_KERNELS_LOCKS: Final = Path("/proc/locks")


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
            RunEndError: The sweep is held, or its lock cannot be taken.
        """
        with self._lock() as lock:
            while not self._try(lock):
                self.check()
                await asyncio.sleep(_RETRY_SECONDS)
            self.check()
            yield

    @contextmanager
    def _lock(self) -> Iterator[int]:
        try:
            lock = _open_lock(self.holds.state_dir, self.sweep.name)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            yield lock
        finally:
            os.close(lock)

    def _try(self, lock: int) -> bool:
        try:
            return _lock(lock, fcntl.LOCK_SH)
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> RunEndError:
        path = self.holds.state_dir / LOCKS / self.sweep.name
        return RunEndError("held", f"the lock file {path} cannot be used: {error.strerror}")


def held(hold: Hold) -> RunEndError:
    """Return how a run ends for a hold."""
    by = f" by {hold.by}" if hold.by else ""
    return RunEndError("held", f"held{by}: {hold.reason}" if hold.reason else f"held{by}")


def open_anchor(state_dir: Path) -> int:
    """Open the state directory, or the nearest directory above it that exists.

    Raises:
        OSError: It cannot be opened.
    """
    for path in (state_dir, *state_dir.absolute().parents):
        with suppress(FileNotFoundError):
            return os.open(path, _DIRECTORY)
    return os.open("/", _DIRECTORY)


class Batches:
    """The batches that were under way when a hold was written.

    Args:
        state_dir: The state directory.
        names: The sweeps that the hold binds; all that ever ran if left out.
        anchor: Of `open_anchor`, opened before the state directory was made.

    Raises:
        OSError: A lock file cannot be opened.
    """

    def __init__(self, state_dir: Path, names: Iterable[str] | None, anchor: int) -> None:
        self._locks: dict[str, int] = {}
        if names is None:
            with suppress(FileNotFoundError, NotADirectoryError):
                names = [path.name for path in (state_dir / LOCKS).iterdir()]
        for name in names or ():
            try:
                self._locks[name] = _open_lock(state_dir, name)
            except OSError as error:
                if error.errno not in _NEVER_A_LOCK:
                    raise
        self._locks[""] = open_anchor(state_dir)
        self._locks["/"] = anchor

    def under_way(self) -> bool:
        """Tell whether one of them has not ended yet.

        Raises:
            OSError: The file system does not lock.
        """
        for name, lock in list(self._locks.items()):
            if _lock(lock, fcntl.LOCK_EX):
                os.close(lock)
                del self._locks[name]
        return bool(self._locks)

    def processes(self) -> list[int]:
        """Return the processes whose batches have not ended, as far as the kernel tells."""
        files = {os.fstat(lock).st_ino for lock in self._locks.values()}
        found = set()
        with suppress(OSError, ValueError, IndexError):
            for line in _KERNELS_LOCKS.read_text().splitlines():
                _, kind, _, _, pid, file, *_ = line.split()
                if kind == "FLOCK" and int(file.rpartition(":")[2]) in files and int(pid) > 0:
                    found.add(int(pid))
        return sorted(found)


def _open_lock(state_dir: Path, name: str) -> int:
    """Open the sweep's lock file, or the directory that stands for it."""
    try:
        with open_directory(state_dir / LOCKS, make=state_dir.is_dir()) as directory:
            descriptor = os.open(name, _LOCK, 0o640, dir_fd=directory)
    except OSError as error:
        if error.errno not in _CANNOT_BE_MADE | {errno.ENOENT}:
            raise
        return open_anchor(state_dir)
    with suppress(OSError):
        os.fchmod(descriptor, 0o640)
    return descriptor


def _lock(descriptor: int, how: int) -> bool:
    """Take a lock if it is free."""
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
