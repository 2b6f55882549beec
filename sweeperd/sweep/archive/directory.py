"""The directory of an archive, held open: names in it are used without following links.

A name below the state directory may have been laid there by somebody else, as a symbolic link
or as a second name of another file. Only what this user made, and what has one name, is read
or written; nothing is ever given to another user.
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_OURS: Final = 2  # the last parts of the path, "archive" and NAME; those above may be links


class UntrustedError(OSError):
    """Somebody else could have laid this, or could change it."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(errno.EPERM, reason, str(path))


class Directory:
    """One archive's directory.

    Args:
        path: Where it is.
        make: Whether to make it, and those above it, where they are missing.

    Raises:
        OSError: It cannot be opened, or is not ours alone.
    """

    def __init__(self, path: Path, *, make: bool = False) -> None:
        self.path = path
        above = path
        for _ in range(_OURS):
            above = above.parent
        if make:
            _make_above(above)
        descriptor = os.open(above, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for part in path.relative_to(above).parts:
            above /= part
            descriptor = _entered(descriptor, part, above, make=make)
        self.descriptor = descriptor

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the directory."""
        os.close(self.descriptor)

    def names(self) -> list[str]:
        """Return the names in it, in order."""
        return sorted(os.listdir(self.descriptor))  # noqa: PTH208 - of a descriptor

    def exists(self, name: str) -> bool:
        """Whether there is anything of that name, a broken link included."""
        try:
            os.lstat(name, dir_fd=self.descriptor)
        except FileNotFoundError:
            return False
        return True

    def create(self, name: str) -> int:
        """Make a new file and return its descriptor.

        Raises:
            OSError: It cannot be made; FileExistsError where the name is taken, by a link, too.
        """
        with self._named(name):
            return os.open(name, _NEW, 0o600, dir_fd=self.descriptor)

    def open(self, name: str, flags: int = os.O_RDONLY) -> int:
        """Open an old file of ours and return its descriptor.

        Raises:
            OSError: It cannot be opened; UntrustedError where it is a link, not ours, or has
                another name.
        """
        with self._named(name):
            descriptor = os.open(name, flags | _OLD, dir_fd=self.descriptor)
        status = os.fstat(descriptor)
        why = None
        if not stat.S_ISREG(status.st_mode):
            why = "it is not a regular file"
        elif status.st_uid != os.geteuid():
            why = f"it belongs to the user with the id {status.st_uid}"
        elif status.st_nlink > 1:
            why = "it has a second name (a hard link)"
        if why is not None:
            os.close(descriptor)
            raise UntrustedError(self.path / name, f"{why}; look at it, then remove it")
        return descriptor

    def rename(self, name: str, new: str) -> None:
        """Give a file another name; what has that name is replaced, and never followed."""
        with self._named(name):
            os.rename(name, new, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)

    def remove(self, name: str) -> None:
        """Remove a name, if it is there."""
        with self._named(name), suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.descriptor)

    def sync(self) -> None:
        """Make the names outlive a crash."""
        os.fsync(self.descriptor)

    def _named(self, name: str) -> _Named:
        return _Named(self.path / name)


class _Named:
    """Puts the whole path into an OSError, which knows the last name only."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if not isinstance(error, OSError) or isinstance(error, UntrustedError):
            return
        if error.errno == errno.ELOOP:
            raise UntrustedError(
                self._path, "it is a symbolic link; look at it, then remove it"
            ) from None
        error.filename = str(self._path)


def _entered(above: int, part: str, path: Path, *, make: bool) -> int:
    """Return a directory's descriptor and close that of the one above it."""
    try:
        if make:
            with suppress(FileExistsError):
                os.mkdir(part, 0o700, dir_fd=above)
                os.fsync(above)
        with _Named(path):
            descriptor = os.open(part, _DIRECTORY, dir_fd=above)
    finally:
        os.close(above)
    status = os.fstat(descriptor)
    why = None
    if status.st_uid not in {0, os.geteuid()}:
        why = f"it belongs to the user with the id {status.st_uid}; look at what is in it"
    elif status.st_mode & stat.S_IWOTH:
        why = f"every user can write it; run: chmod go-w {shlex.quote(str(path))}"
    elif status.st_mode & stat.S_IWGRP and status.st_gid not in {0, os.getegid()}:
        why = f"another group can write it; run: chmod g-w {shlex.quote(str(path))}"
    if why is not None:
        os.close(descriptor)
        raise UntrustedError(path, why)
    return descriptor


def _make_above(path: Path) -> None:
    """Make the directories above an archive's that are missing, whatever the umask."""
    missing = [one for one in (path, *path.parents) if not one.exists()]
    for one in reversed(missing):
        with suppress(FileExistsError):
            one.mkdir(mode=0o750)
