"""Small files in a directory that others may write: no link is followed, none is half-written."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_DIRECTORY_MODE: Final = 0o750
_MODE_ABOVE: Final = 0o755
_FILE_MODE: Final = 0o640


@contextmanager
def open_directory(path: Path, *, make: bool = False) -> Iterator[int]:
    """Hold a directory open; its last part is not followed if it is a link.

    Args:
        path: Where it is; the directory above it must exist.
        make: Whether to make it where it is missing, with mode 0750 whatever the umask is.

    Yields:
        Its descriptor.

    Raises:
        OSError: It cannot be opened or made.
    """
    if make:
        with suppress(FileExistsError):
            path.mkdir(mode=_DIRECTORY_MODE)
            path.chmod(_DIRECTORY_MODE, follow_symlinks=True)
            _sync(path.parent)
    descriptor = os.open(path, _DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def make_directory(path: Path) -> bool:
    """Make a directory of mode 0750, and those above it of 0755, whatever the umask is.

    Returns:
        Whether it was missing.

    Raises:
        OSError: It cannot be made.
    """
    missing = [one for one in (path, *path.parents) if not one.is_dir()]
    for one in reversed(missing):
        with suppress(FileExistsError):
            one.mkdir(mode=_DIRECTORY_MODE)
            # the user of the service must be able to pass those above
            one.chmod(_DIRECTORY_MODE if one == path else _MODE_ABOVE)
    return bool(missing)


def read_small(directory: int, name: str, limit: int) -> bytes:
    """Return the content of a regular file of at most ``limit`` bytes.

    Raises:
        FileNotFoundError: There is nothing of that name.
        OSError: It cannot be read, is a link or no regular file, or is larger.
    """
    descriptor = os.open(name, _OLD, dir_fd=directory)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{name} is not a regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            content = stream.read(limit + 1)
    finally:
        os.close(descriptor)  # a file object never owns a directory's
    if len(content) > limit:
        raise OSError(f"{name} is larger than {limit} bytes")
    return content


def write_small(directory: int, name: str, content: bytes, mode: int = _FILE_MODE) -> None:
    """Put a file in place of whatever has the name, synced to disk; its mode under any umask.

    Raises:
        OSError: It cannot be written; then what had the name is still there.
    """
    # nobody can lay a link under a name that cannot be foreseen
    part = f".{name}.{secrets.token_hex(8)}"
    descriptor = os.open(part, _NEW, _FILE_MODE, dir_fd=directory)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(descriptor, mode)
            stream.write(content)
            stream.flush()
            os.fsync(descriptor)
        _make_room(directory, name)
        os.rename(part, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError:
        with suppress(OSError):
            os.unlink(part, dir_fd=directory)
        raise
    os.fsync(directory)


def remove_small(directory: int, name: str) -> bool:
    """Remove what has the name, an empty directory included; tell whether there was anything.

    Raises:
        OSError: It cannot be removed.
    """
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return False
    except OSError:
        if not stat.S_ISDIR(os.lstat(name, dir_fd=directory).st_mode):
            raise
        os.rmdir(name, dir_fd=directory)
    os.fsync(directory)
    return True


def _make_room(directory: int, name: str) -> None:
    """Remove an empty directory of that name, which a rename would not replace."""
    with suppress(FileNotFoundError):
        if stat.S_ISDIR(os.lstat(name, dir_fd=directory).st_mode):
            os.rmdir(name, dir_fd=directory)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
