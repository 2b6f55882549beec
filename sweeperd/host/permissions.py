"""Who else could write a file, or put another in its place; and reading a file that is one.

The administrator (uid 0) and the process's own user are trusted, and so are group 0 and the
primary groups of those users. In a directory with the sticky bit, such as /tmp, nobody can
replace what belongs to another.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import shlex
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sweeperd.errors import EXIT_CONFIG, SweeperdError

_MOST_LINKS: Final = 40  # as the kernel's


class ExposedError(SweeperdError):
    """Others could have written what we are about to trust."""

    exit_code = EXIT_CONFIG


@dataclass(frozen=True)
class Exposure:
    """Why a path cannot be trusted.

    Attributes:
        path: The file, or a directory on the way to it.
        fault: What is wrong with it.
        cure: A command that mends it.
        is_foreign: Whether it belongs to another user.
    """

    path: Path
    fault: str
    cure: str
    is_foreign: bool = False


def exposures(path: Path, trusted: Iterable[int] = ()) -> Iterator[Exposure]:
    """Yield what lets another user write a path or replace it, from the root downward.

    Args:
        path: It need not exist; the directories that do are looked at.
        trusted: User ids beside 0 and the effective one.

    Raises:
        OSError: A directory on the way cannot be searched, or links go in a circle.
    """
    users = {0, os.geteuid(), *trusted}
    groups = {0, os.getegid(), *_primary_groups(users)}
    with suppress(FileNotFoundError, NotADirectoryError):
        for step, status in _steps(path):
            yield from _exposure(step, status, users, groups)


def refuse_exposed(directory: Path) -> None:
    """Refuse a state directory that others could have written.

    Raises:
        ExposedError: With the command that mends it.
    """
    try:
        found = next(exposures(directory), None)
    except OSError:
        return  # whoever uses the directory says so
    if found is None:
        return
    if found.is_foreign and found.path == directory:
        owner = user_name(directory.stat().st_uid)
        raise ExposedError(
            f"the state directory {directory} belongs to the user {owner}",
            cure=f"run this as root or as {owner}, or set [daemon] state_dir to another directory",
        )
    where = "" if found.path == directory else f" (on the way to {directory})"
    raise ExposedError(
        f"the state directory cannot be trusted: {found.path}{where} {found.fault}",
        cure=f"look at what is in it, then run: {found.cure}",
    )


def readable_by_all(path: Path) -> bool:
    """Whether every user of this host can read a file; False when that cannot be seen."""
    try:
        steps = list(_steps(path))
    except OSError:
        return False
    directories = [status for _, status in steps[:-1] if stat.S_ISDIR(status.st_mode)]
    reachable = all(status.st_mode & stat.S_IXOTH for status in directories)
    return bool(steps) and reachable and bool(steps[-1][1].st_mode & stat.S_IROTH)


def read_file(path: Path, limit: int) -> bytes:
    """Return the content of a regular file, at most ``limit`` bytes and one more.

    A pipe or a device is not even waited for.

    Raises:
        OSError: It cannot be read, or is no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            return stream.read(limit + 1)
    finally:
        os.close(descriptor)  # a file object never owns a directory's


def user_name(uid: int) -> str:
    """Return the name of a user, or its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OSError):
        return str(uid)


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except (KeyError, OSError):
        return str(gid)


def _primary_groups(users: Iterable[int]) -> Iterator[int]:
    for uid in users:
        with suppress(KeyError, OSError):
            yield pwd.getpwuid(uid).pw_gid


def _exposure(
    path: Path, status: os.stat_result, users: set[int], groups: set[int]
) -> Iterator[Exposure]:
    name = shlex.quote(str(path))
    if status.st_uid not in users:
        yield Exposure(
            path,
            f"belongs to the user {user_name(status.st_uid)}, who could change it",
            f"chown {user_name(os.geteuid())} {name}",
            is_foreign=True,
        )
    is_sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
    if stat.S_ISLNK(status.st_mode) or is_sticky:
        return
    if status.st_mode & stat.S_IWOTH:
        yield Exposure(path, "can be written by every user", f"chmod go-w {name}")
    elif status.st_mode & stat.S_IWGRP and status.st_gid not in groups:
        group = _group_name(status.st_gid)
        yield Exposure(path, f"can be written by the group {group}", f"chmod g-w {name}")


def _steps(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield each directory, link and file that the kernel meets on the way to a path."""
    at, links = Path("/"), 0
    yield at, at.lstat()
    todo = list(reversed(path.absolute().parts[1:]))
    while todo:
        part = todo.pop()
        if part == "..":
            at = at.parent
            continue
        here = at / part
        status = here.lstat()
        yield here, status
        if not stat.S_ISLNK(status.st_mode):
            at = here
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
        target = here.readlink()
        if target.is_absolute():
            at = Path("/")
        todo += reversed([part for part in target.parts if part != "/"])
