"""A process of root's becomes the owner of the directory that it works in.

Whoever owns a directory can lay links in it under any name, at any moment. What root writes
there would follow them; the owner itself gains nothing by them.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import pwd
import stat
import warnings
import zoneinfo
from contextlib import suppress
from pathlib import Path
from typing import Final

from sweeperd.errors import EXIT_CONFIG, SweeperdError
from sweeperd.host.files import make_directory
from sweeperd.host.permissions import user_name

SERVICE_USER: Final = "sweeperd"
_STATES: Final = Path("/var/lib")
# Packages that import parts of themselves only when they are needed.
_LAZY_PACKAGES: Final = (
    *("sweeperd", "asyncpg", "click", "structlog", "rich", "tomli", "sdnotify", "cysystemd"),
    *("pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection"),
    *("encodings", "asyncio", "concurrent", "json", "logging", "importlib", "zoneinfo", "tzdata"),
    *("email", "collections", "urllib"),
)
_LAZY_MODULES: Final = (
    *("stringprep", "unicodedata", "ssl", "hashlib", "hmac", "secrets", "getpass", "gzip", "zlib"),
    *("traceback", "linecache", "tokenize", "difflib", "locale", "socket", "select", "selectors"),
    *("decimal", "_decimal", "_pydecimal", "_strptime", "uuid", "ipaddress", "tempfile", "shlex"),
    *("fcntl", "resource", "syslog", "textwrap", "inspect", "platform", "random", "bisect"),
)
# parts that are not for us: other systems', tests, tools, or a former API
_SKIPPED: Final = ("pydantic.v1", "pydantic.mypy", "asyncpg._testbase", "sweeperd.__main__")

_zones: list[zoneinfo.ZoneInfo] = []


class OwnerError(SweeperdError):
    """This process cannot become the user that owns the directory."""

    exit_code = EXIT_CONFIG


def become_owner_of(directory: Path, *, make: bool = False) -> bool:
    """Become the user who owns a directory, for good, if this process is root's.

    It has no effect for another user, or where root owns the directory. One that does not exist
    belongs to whoever owns the directory in which it would be made; below /var/lib, where only
    root makes directories, to the service's user.

    Args:
        directory: Where this process is about to write.
        make: Whether to make a missing one for the service's user.

    Returns:
        Whether the process is another user's now.

    Raises:
        OwnerError: The system does not allow it.
    """
    if os.geteuid() != 0:
        return False
    uid, gid = _owner_of(directory, make=make)
    if uid == 0:
        return False
    _import_everything()
    try:
        _become(uid, gid)
    except OSError as error:
        raise OwnerError(
            f"{directory} belongs to {user_name(uid)}, and this process cannot act as "
            f"that user: {error.strerror}",
            cure=f"run it as the user {user_name(uid)}",
        ) from error
    return True


def _owner_of(directory: Path, *, make: bool) -> tuple[int, int]:
    """Return the user and group; those of root where the directory is root's or nobody's."""
    status = _nearest(directory)
    if status is not None and status.st_uid != 0:
        return status.st_uid, status.st_gid
    if _STATES in directory.absolute().parents and not directory.exists():
        with suppress(KeyError, OSError):
            user = pwd.getpwnam(SERVICE_USER)
            if make and make_directory(directory):
                os.chown(directory, user.pw_uid, user.pw_gid)
            return user.pw_uid, user.pw_gid
    return 0, 0


def _nearest(directory: Path) -> os.stat_result | None:
    """Return the state of a directory, or of the first above it that exists."""
    path = directory.absolute()
    for place in (path, *path.parents):
        with suppress(OSError):
            status = place.stat()
            shared = place != path and status.st_mode & stat.S_ISVTX
            return None if shared else status
    return None


def _become(uid: int, gid: int) -> None:
    home = "/"
    try:
        user = pwd.getpwuid(uid)
    except KeyError:  # a number without a name has no further groups
        os.setgroups([])
    else:
        gid, home = user.pw_gid, user.pw_dir
        os.initgroups(user.pw_name, gid)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    # libpq's defaults, the user's name and the files in its home, are the new user's
    os.environ.update(HOME=home, USER=user_name(uid), LOGNAME=user_name(uid))


def _import_everything() -> None:
    """Import what would be imported later.

    Python and this program may lie where only root can enter, such as below root's home: the
    new user could not read a module from there, nor start the program anew.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in _LAZY_MODULES:
            _import(name)
        for name in _LAZY_PACKAGES:
            package = _import(name)
            for found in pkgutil.walk_packages(getattr(package, "__path__", ()), f"{name}.", _skip):
                _import(found.name)
    for key in zoneinfo.available_timezones():
        with suppress(Exception):
            _zones.append(zoneinfo.ZoneInfo(key))


def _import(name: str) -> object:
    if name.startswith(_SKIPPED) or name.endswith(".__main__"):
        return None
    with suppress(Exception, SystemExit):  # a part for another system, or without its library
        return importlib.import_module(name)
    return None


def _skip(_name: str) -> None:
    """Pass a package that cannot be imported."""
