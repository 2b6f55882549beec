"""The socket's file: where it is, how the daemon takes the name, and how a command reaches it."""

from __future__ import annotations

import errno
import fcntl
import grp
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from sweeperd.errors import EXIT_NOT_RUNNING, SweeperdError
from sweeperd.host.files import open_directory
from sweeperd.host.owner import SERVICE_USER

SOCKET_NAME: Final = "control.sock"
_STATES: Final = Path("/var/lib")
_RUNTIME: Final = Path("/run")
_BACKLOG: Final = 64
_SHARED_MODE: Final = 0o660
_OWN_MODE: Final = 0o600
_CONNECT_SECONDS: Final = 5.0
_LONGEST_ADDRESS: Final = 107  # sockaddr_un


class NotRunningError(SweeperdError):
    """No daemon answers at the socket."""

    exit_code = EXIT_NOT_RUNNING


class EndpointTakenError(OSError):
    """The name is another's, who may be at work."""


def default_socket(state_dir: Path) -> Path:
    """Return where the socket of a daemon with this state directory is, unless it is configured.

    systemd gives the daemon and its ExecReload= a runtime directory; a command from a shell finds
    the same one, since the units name both alike: /var/lib/sweeperd and /run/sweeperd. Another
    state directory has the socket in it.
    """
    given = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given) / SOCKET_NAME
    if _STATES in state_dir.parents:
        return _RUNTIME / state_dir.relative_to(_STATES) / SOCKET_NAME
    return state_dir / SOCKET_NAME


class Endpoint:
    """The daemon's end: a listening socket with a name of its own.

    Args:
        path: The name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._identity: tuple[int, ...] | None = None

    def listen(self) -> socket.socket:
        """Take the name and listen; a dead daemon's socket is replaced, nothing else is.

        Raises:
            EndpointTakenError: A process listens there, or it is no socket.
            OSError: The name cannot be taken.
        """
        with open_directory(self.path.parent.resolve()) as directory:
            # two daemons that start at once must not both find the other's socket dead
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._make_room(directory)
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                self._bind(listener, directory)
                listener.listen(_BACKLOG)
            except OSError:
                listener.close()
                raise
        listener.setblocking(False)
        return listener

    def is_ours(self) -> bool:
        """Whether the name still leads to this daemon."""
        with suppress(OSError):
            return _identity(self.path.lstat()) == self._identity
        return False

    def remove(self) -> None:
        """Give the name up, if it is still this daemon's."""
        if self.is_ours():
            with suppress(OSError):
                self.path.unlink()

    def _make_room(self, directory: int) -> None:
        try:
            status = os.lstat(self.path.name, dir_fd=directory)
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(status.st_mode):
            raise EndpointTakenError(errno.EEXIST, "it is there, and no socket", str(self.path))
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)  # a full backlog is a live daemon's, too
            try:
                probe.connect(_address(directory, self.path))
            except ConnectionRefusedError:
                os.unlink(self.path.name, dir_fd=directory)
                return
            except (BlockingIOError, PermissionError):
                pass
        raise EndpointTakenError(errno.EADDRINUSE, "another process listens on it", str(self.path))

    def _bind(self, listener: socket.socket, directory: int) -> None:
        name = self.path.name
        umask = os.umask(0o777 & ~_OWN_MODE)  # nobody else may connect before the group is set
        try:
            listener.bind(_address(directory, self.path))
        finally:
            os.umask(umask)
        with suppress(KeyError, OSError):  # no such group, or not one of ours
            group = grp.getgrnam(SERVICE_USER).gr_gid
            # the unit's system call filter has no chown; there the group is right from the start
            if os.lstat(name, dir_fd=directory).st_gid != group:
                os.chown(name, -1, group, dir_fd=directory)
            os.chmod(name, _SHARED_MODE, dir_fd=directory)
        self._identity = _identity(os.lstat(name, dir_fd=directory))


def connect(path: Path) -> socket.socket:
    """Return a connection to the daemon, for a command.

    Raises:
        NotRunningError: None listens there.
        SweeperdError: This user may not.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(_CONNECT_SECONDS)
    try:
        with open_directory(path.parent.resolve()) as directory:
            connection.connect(_address(directory, path))
    except OSError as error:
        connection.close()
        raise _unreachable(path, error) from error
    return connection


def _identity(status: os.stat_result) -> tuple[int, ...]:
    """Return what tells a file from the next of its name, which may have its inode's number."""
    return status.st_dev, status.st_ino, status.st_ctime_ns


def _unreachable(path: Path, error: OSError) -> SweeperdError:
    if isinstance(error, PermissionError):
        return SweeperdError(
            f"this user may not use the control socket {path}",
            cure=f"run this as root or as a member of the group {SERVICE_USER}",
        )
    if isinstance(error, TimeoutError | BlockingIOError):
        return SweeperdError(
            f"the daemon at {path} accepts no connection within {_CONNECT_SECONDS:.0f} s",
            cure="look at it with: systemctl status sweeperd",
        )
    why = "nothing listens on" if isinstance(error, ConnectionRefusedError) else "there is no"
    if not isinstance(error, ConnectionRefusedError | FileNotFoundError | NotADirectoryError):
        why = f"{error.strerror}:"
    return NotRunningError(
        f"the daemon is not running: {why} {path}", cure="start it with: systemctl start sweeperd"
    )


def _address(directory: int, path: Path) -> str:
    """Return a path, or one that means the same and fits into a socket's address."""
    fits = len(os.fsencode(path)) <= _LONGEST_ADDRESS
    return str(path) if fits else f"/proc/self/fd/{directory}/{path.name}"
