"""Who owns a state directory: one daemon, named by its pid."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sweeperd.errors import EXIT_CONFIG, SweeperdError
from sweeperd.log.daemon_events import StateNotSaved
from sweeperd.log.event import emit

LOCK_FILE: Final = "lock"

# a daemon that cannot note its start is still worth more than none: these go on with a warning
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


class StateLockedError(SweeperdError):
    """Another daemon owns the state directory, or this user may not use it."""

    exit_code = EXIT_CONFIG


def running_pid(directory: Path) -> int | None:
    """Return the pid of the daemon that owns the directory; None when none does."""
    try:
        descriptor = os.open(directory / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        owner = os.read(descriptor, 32).decode("ascii", "replace").strip()
        return int(owner) if owner.isdecimal() else None
    finally:
        os.close(descriptor)
    return None


@contextmanager
def locked_directory(directory: Path) -> Iterator[None]:
    """Own a state directory while the context lasts; it is made when missing.

    Raises:
        StateLockedError: Another daemon owns it (named by its pid), or it cannot be used.
    """
    descriptor = _open_lock(directory)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _open_lock(directory: Path) -> int | None:
    path = directory / LOCK_FILE
    try:
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        if error.errno in _NO_ROOM:
            emit(StateNotSaved(str(path), str(error)))
            return None
        raise StateLockedError(
            f"the state directory {directory} cannot be used: {error}",
            cure="give it to the user sweeperd runs as, or set [daemon] state_dir",
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = os.read(descriptor, 32).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise StateLockedError(
            f"another sweeperd (pid {owner or 'unknown'}) runs on the state directory {directory}",
            cure="stop it, or give this one its own [daemon] state_dir",
        ) from error
    _note_pid(descriptor)
    return descriptor


def _note_pid(descriptor: int) -> None:
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
