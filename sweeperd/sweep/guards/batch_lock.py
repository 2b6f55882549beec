"""The lock under which batches work: one file in the state directory, a byte of it for each sweep.

A batch holds a shared lock on its sweep's byte. Whoever sets a hold writes it first and then takes
the byte exclusively, which waits for the batches under way. The kernel drops the locks of a process
that dies. They are locks of an open file description (fcntl(2), "Open file description locks"): a
process needs one descriptor for all its batches, and closing another descriptor of the file does
not drop them.

A process that cannot make the file locks the state directory instead, or the directory in which
that would be made: whoever sets a hold takes these, too.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

LOCK: Final = "batches.lock"

_LOCK: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE_MODE: Final = 0o640
# the lock file cannot be made or written by this process; another may be able to
_CANNOT_BE_MADE: Final = frozenset(
    {errno.ENOENT, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}
)
# something else has the lock file's name: no batch can begin at all
_NEVER_A_LOCK: Final = frozenset({errno.ELOOP, errno.EISDIR, errno.ENOTDIR, errno.ENXIO})
_TAKEN: Final = frozenset({errno.EAGAIN, errno.EACCES})
_EVERY_SWEEP: Final = (0, 0)  # first byte and length, where 0 is "to the end of the file"
_PROCESSES: Final = Path("/proc")


@dataclass
class _LockFile:
    """One open lock file, and how many batches hold each sweep's byte through it."""

    descriptor: int
    batches: Counter[str] = field(default_factory=Counter)
    is_replaced: bool = False  # another file has the name: close this one after its last batch

    def try_share(self, sweep: str) -> bool:
        if not self.batches[sweep] and not lock_byte(self.descriptor, fcntl.F_RDLCK, sweep):
            return False
        self.batches[sweep] += 1
        return True

    def release(self, sweep: str) -> None:
        self.batches[sweep] -= 1
        if not self.batches[sweep]:
            del self.batches[sweep]
            lock_byte(self.descriptor, fcntl.F_UNLCK, sweep)
        self.close_if_done()

    def close_if_done(self) -> None:
        if self.is_replaced and not self.batches:
            os.close(self.descriptor)

    def is_file(self, path: Path) -> bool:
        """Whether the file still has the name."""
        try:
            return os.path.samestat(path.lstat(), os.fstat(self.descriptor))
        except OSError:
            return False


class BatchLocks:
    """The locks of this process's batches in one state directory.

    Args:
        state_dir: The state directory.
    """

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._file: _LockFile | None = None

    @contextmanager
    def batch(self, sweep: str) -> Iterator[Callable[[], bool]]:
        """Yield what tries to lock a sweep's byte for one batch; unlock it at the end.

        Raises:
            OSError: Nothing can be locked.
        """
        try:
            file = self._opened()
        except OSError as error:
            if error.errno not in _CANNOT_BE_MADE:
                raise
            anchor = open_anchor(self._state_dir)
            try:
                yield partial(_lock_directory, anchor, fcntl.LOCK_SH)
            finally:
                os.close(anchor)
            return
        is_locked = False

        def try_lock() -> bool:
            nonlocal is_locked
            is_locked = file.try_share(sweep)
            return is_locked

        try:
            yield try_lock
        finally:
            if is_locked:
                file.release(sweep)

    def _opened(self) -> _LockFile:
        """Return the file that has the name now: it may have been removed since the last batch."""
        if self._file is None or not self._file.is_file(self._state_dir / LOCK):
            former, self._file = self._file, None
            if former is not None:
                former.is_replaced = True
                former.close_if_done()
            self._file = _LockFile(_open_lock(self._state_dir))
        return self._file


class BatchesUnderWay:
    """The batches that were under way when a hold was written.

    Args:
        state_dir: The state directory.
        sweeps: The sweeps that the hold binds; every sweep if left out.
        anchor: Of `open_anchor`, opened before the state directory was made.

    Raises:
        OSError: The lock file cannot be opened.
    """

    def __init__(self, state_dir: Path, sweeps: Iterable[str] | None, anchor: int) -> None:
        self._file: int | None = None
        self._bytes: set[tuple[int, int]] = set()
        self._directories = [open_anchor(state_dir), anchor]
        try:
            self._file = _open_lock(state_dir)
        except OSError as error:
            if error.errno not in _NEVER_A_LOCK | _CANNOT_BE_MADE:
                raise
            return
        self._bytes = {_EVERY_SWEEP} if sweeps is None else {(_byte(one), 1) for one in sweeps}

    def are_left(self) -> bool:
        """Whether one of them has not ended yet.

        Raises:
            OSError: The file system does not lock.
        """
        for directory in list(self._directories):
            if _lock_directory(directory, fcntl.LOCK_EX):
                os.close(directory)
                self._directories.remove(directory)
        for place in list(self._bytes):
            if self._file is not None and _lock_range(self._file, fcntl.F_WRLCK, *place):
                _lock_range(self._file, fcntl.F_UNLCK, *place)
                self._bytes.remove(place)
        if self._file is not None and not self._bytes:
            os.close(self._file)
            self._file = None
        return bool(self._directories or self._bytes)

    def processes(self) -> list[int]:
        """Return the processes whose batches have not ended, as far as this user may see them."""
        descriptors = [*self._directories, *([] if self._file is None else [self._file])]
        files = {os.fstat(one).st_ino for one in descriptors}
        found = set()
        for info in _PROCESSES.glob("[0-9]*/fdinfo/*"):
            pid = int(info.parts[2])
            with suppress(OSError, ValueError, IndexError):
                locks = [line.split() for line in info.read_text().splitlines() if "lock:" in line]
                if any(self._is_ours(lock, files) for lock in locks):
                    found.add(pid)
        return sorted(found)

    def _is_ours(self, lock: list[str], files: set[int]) -> bool:
        """Whether a line of fdinfo (proc(5)) tells of a lock that stands in the way.

        For example ``lock: 1: OFDLCK ADVISORY READ -1 08:01:1234 17 17``.
        """
        kind, file, first = lock[2], lock[6], lock[7]
        if int(file.rpartition(":")[2]) not in files:
            return False
        return kind == "FLOCK" or any(
            place == _EVERY_SWEEP or place[0] == int(first) for place in self._bytes
        )


def open_anchor(state_dir: Path) -> int:
    """Open the state directory, or the nearest directory above it that exists.

    Raises:
        OSError: It cannot be opened.
    """
    for path in (state_dir, *state_dir.absolute().parents):
        with suppress(FileNotFoundError):
            return os.open(path, _DIRECTORY)
    return os.open("/", _DIRECTORY)


def lock_byte(descriptor: int, how: int, sweep: str) -> bool:
    """Take or drop a lock on a sweep's byte; False when somebody else's is in the way.

    Raises:
        OSError: The file system does not lock.
    """
    return _lock_range(descriptor, how, _byte(sweep), 1)


def _open_lock(state_dir: Path) -> int:
    descriptor = os.open(state_dir / LOCK, _LOCK, _FILE_MODE)
    with suppress(OSError):
        os.fchmod(descriptor, _FILE_MODE)
    return descriptor


def _byte(sweep: str) -> int:
    """Return the sweep's byte of the lock file; an offset is 63 bits wide."""
    return int.from_bytes(hashlib.blake2b(sweep.encode(), digest_size=7).digest(), "big")


def _lock_range(descriptor: int, how: int, first: int, length: int) -> bool:
    """Take or drop a lock on bytes of a file; False when somebody else's is in the way."""
    wanted = struct.pack("hhqqi", how, os.SEEK_SET, first, length, 0)  # struct flock
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, wanted)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        raise
    return True


def _lock_directory(descriptor: int, how: int) -> bool:
    """Take a lock on a directory if it is free."""
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
