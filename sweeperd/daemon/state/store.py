"""What the daemon remembers across restarts: one versioned JSON file, replaced atomically."""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sweeperd.daemon.state.record import Loaded, NewerVersionError, SweepRecord, decode, encode
from sweeperd.errors import EXIT_CONFIG, SweeperdError
from sweeperd.host.permissions import read_file
from sweeperd.log.daemon_events import StateNotSaved, StateSavedAgain, StateSetAside
from sweeperd.log.event import emit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

STATE_FILE = "state.json"
LOCK_FILE = "lock"

# a daemon that cannot note its start is still worth more than none: these go on with a warning
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
_KEPT_COPIES = 9
_LARGEST = 256 * 2**20


class StateLockedError(SweeperdError):
    """Another daemon owns the state directory, or this user may not use it."""

    exit_code = EXIT_CONFIG


class StateUnreadableError(SweeperdError):
    """The state file is there, but it is damaged, of a newer version, or not ours to read."""


def read_records(directory: Path) -> Loaded:
    """Read the daemon's records without touching anything; for foreground commands.

    Args:
        directory: The state directory.

    Returns:
        The records by sweep name; empty when no daemon has run yet.

    Raises:
        StateUnreadableError: The file cannot be opened or understood.
    """
    path = directory / STATE_FILE
    try:
        return decode(_content(path))
    except FileNotFoundError:
        return Loaded()
    except (OSError, ValueError) as error:
        raise StateUnreadableError(f"the state {path} cannot be read: {error}") from error


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


class StateStore:
    """The daemon's one writer of a state directory.

    Args:
        directory: Where the state file and the lock live; made when missing.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path = directory / STATE_FILE
        self._failing = False

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Own the directory while the context lasts.

        Raises:
            StateLockedError: Another daemon owns it (named by its pid), or it cannot be used.
        """
        descriptor = self._open_lock()
        try:
            yield
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def load(self) -> Loaded:
        """Read the records; a file that cannot be used is kept aside with a warning."""
        try:
            return decode(_content(self._path))
        except FileNotFoundError:
            return Loaded()
        except NewerVersionError as error:
            self._keep_aside("newer", str(error))
            return Loaded(unusable=str(error))
        except (OSError, ValueError) as error:
            self._keep_aside("damaged", str(error))
            return Loaded(unusable=str(error))

    def save(self, records: Mapping[str, SweepRecord]) -> bool:
        """Replace the file atomically.

        A full disk or the like is logged once a change of state; the old file then stays.

        Returns:
            Whether it was written.
        """
        return self.write(encode(records))

    def write(self, content: bytes) -> bool:
        """Write what ``encode`` returned; may run in a thread. See ``save``."""
        try:
            self._replace(content)
        except OSError as error:
            if not self._failing:
                emit(StateNotSaved(str(self._path), str(error)))
            self._failing = True
            return False
        if self._failing:
            emit(StateSavedAgain(str(self._path)))
        self._failing = False
        return True

    def _open_lock(self) -> int | None:
        path = self._directory / LOCK_FILE
        try:
            self._directory.mkdir(mode=0o750, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            if error.errno in _NO_ROOM:
                emit(StateNotSaved(str(path), str(error)))
                return None
            raise StateLockedError(
                f"the state directory {self._directory} cannot be used: {error}",
                cure="give it to the user sweeperd runs as, or set [daemon] state_dir",
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.read(descriptor, 32).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise StateLockedError(
                f"another sweeperd (pid {owner or 'unknown'}) runs on the state directory "
                f"{self._directory}",
                cure="stop it, or give this one its own [daemon] state_dir",
            ) from error
        _note_pid(descriptor)
        return descriptor

    def _replace(self, content: bytes) -> None:
        part = self._path.with_suffix(".json.part")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self._path)
        except OSError:
            # a half-written part would keep the very room that is missing
            part.unlink(missing_ok=True)
            raise
        directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _keep_aside(self, suffix: str, reason: str) -> None:
        """Rename what cannot be used: it may be evidence, or a later version's property."""
        names = [f"{STATE_FILE}.{suffix}"]
        names += [f"{STATE_FILE}.{suffix}.{n}" for n in range(2, _KEPT_COPIES + 1)]
        free = [name for name in names if not (self._directory / name).exists()]
        aside = self._directory / (free[0] if free else names[-1])
        try:
            self._path.replace(aside)
        except OSError as error:
            emit(StateSetAside(str(self._path), reason, error=str(error)))
        else:
            emit(StateSetAside(str(self._path), reason, kept=str(aside)))


def _content(path: Path) -> bytes:
    content = read_file(path, _LARGEST)
    if len(content) > _LARGEST:
        raise ValueError(f"it is larger than {_LARGEST} bytes")
    return content


def _note_pid(descriptor: int) -> None:
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
