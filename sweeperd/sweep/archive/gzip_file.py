"""One run's archive on disk: gzip members of JSON lines, each synced, and a manifest.

While the run writes, the file is named ``….jsonl.gz.part`` and locked; a crash leaves it so,
and the next run of its archive makes it whole: what was synced stays, a torn end goes.
"""

from __future__ import annotations

import errno
import fcntl
import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_PART: Final = ".part"
_MANIFEST: Final = ".manifest.json"
# rows wait, locked, until they are packed: speed before size
_LEVEL: Final = 1
_CHUNK: Final = 1 << 20
_GZIP: Final = 16 + zlib.MAX_WBITS  # zlib.decompressobj: a gzip header is expected


@dataclass(frozen=True)
class Mark:
    """How much of a file is good.

    Attributes:
        size: Bytes.
        count: Lines in them.
        digest: SHA-256 of them, under way.
    """

    size: int
    count: int
    digest: Any


class ArchiveFile:
    """The file of one run; its methods block.

    Args:
        path: Its name when it is finished; it must not exist.
        facts: What the manifest tells beside count and SHA-256.

    Raises:
        OSError: It cannot be made.
    """

    def __init__(self, path: Path, facts: Mapping[str, Any]) -> None:
        self.path = path
        self._part = path.with_name(path.name + _PART)
        self._facts = dict(facts)
        self.mark = Mark(0, 0, hashlib.sha256())
        self._owner = _make_directory(path.parent)
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        self._descriptor = _make_locked(self._part)
        try:
            _give(self._descriptor, self._owner)
            # the facts must survive a crash, too
            _write(path, {**self._facts, "complete": False}, self._owner)
        except OSError:
            self._part.unlink(missing_ok=True)
            os.close(self._descriptor)
            raise

    def append(self, lines: list[str]) -> None:
        """Write lines as one gzip member and sync it to disk.

        Raises:
            OSError: Disk full, or worse; the file ends where it did before.
        """
        before = self.mark
        if os.fstat(self._descriptor).st_nlink == 0:
            raise FileNotFoundError(errno.ENOENT, "somebody removed it", str(self._part))
        content = gzip.compress("".join(f"{line}\n" for line in lines).encode(), _LEVEL, mtime=0)
        try:
            _write_at(self._descriptor, content, before.size)
            os.fsync(self._descriptor)
        except OSError:
            with suppress(OSError):
                self.reset(before)
            raise
        digest = before.digest.copy()
        digest.update(content)
        self.mark = Mark(before.size + len(content), before.count + len(lines), digest)

    def reset(self, mark: Mark) -> None:
        """Take back what was appended since ``mark``."""
        os.ftruncate(self._descriptor, mark.size)
        self.mark = mark

    def finish(self) -> None:
        """Write the manifest and give the file its name; an empty one goes.

        Raises:
            OSError: Disk full, or worse; the next run tries again.
        """
        try:
            if self.mark.count:
                _conclude(self.path, self._facts, self.mark, self._owner, complete=True)
            else:
                self._part.unlink()
                _manifest(self.path).unlink()
        finally:
            os.close(self._descriptor)


def repair(directory: Path) -> list[Path]:
    """Finish what crashed runs left in a directory; return the files, now whole.

    A file that a living run still writes is let be.

    Raises:
        OSError: One cannot be read or written.
    """
    return [path for part in sorted(directory.glob(f"*{_PART}")) for path in _repair(part)]


def _make_locked(part: Path) -> int:
    """Make a file and lock it; return its descriptor.

    Between the two, another run's repair may have taken it for a crashed one's and removed it.
    """
    while True:
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)


def _repair(part: Path) -> Iterator[Path]:
    descriptor = os.open(part, os.O_RDWR | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return
        if not part.exists() or os.fstat(descriptor).st_ino != part.stat().st_ino:
            return  # finished meanwhile
        path = part.with_name(part.name.removesuffix(_PART))
        mark = _whole_members(descriptor)
        os.ftruncate(descriptor, mark.size)
        os.fsync(descriptor)
        if mark.count == 0:
            part.unlink()
            _manifest(path).unlink(missing_ok=True)
            return
        status = os.fstat(descriptor)
        _conclude(path, _facts(path), mark, (status.st_uid, status.st_gid), complete=False)
        yield path
    finally:
        os.close(descriptor)


def _facts(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(_manifest(path).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _whole_members(descriptor: int) -> Mark:
    """Return the good part of a file: its whole gzip members, from the start."""
    good, digest, lines = Mark(0, 0, hashlib.sha256()), hashlib.sha256(), 0
    member = zlib.decompressobj(_GZIP)
    position = 0
    with suppress(zlib.error):
        while chunk := os.pread(descriptor, _CHUNK, position):
            while chunk:
                lines += member.decompress(chunk).count(b"\n")
                used = len(chunk) - len(member.unused_data)
                digest.update(chunk[:used])
                position += used
                chunk = member.unused_data
                if member.eof:
                    good = Mark(position, good.count + lines, digest.copy())
                    member, lines = zlib.decompressobj(_GZIP), 0
    return good


def _conclude(
    path: Path, facts: Mapping[str, Any], mark: Mark, owner: tuple[int, int], *, complete: bool
) -> None:
    """Tell count and SHA-256 beside a file, and let it stand under its name."""
    told = {
        **facts,
        "file": path.name,
        "count": mark.count,
        "bytes": mark.size,
        "sha256": mark.digest.hexdigest(),
        "complete": complete,
    }
    _write(path, told, owner)
    path.with_name(path.name + _PART).rename(path)
    _sync_directory(path.parent)


def _manifest(path: Path) -> Path:
    return path.with_name(path.name + _MANIFEST)


def _write(path: Path, facts: Mapping[str, Any], owner: tuple[int, int]) -> None:
    """Replace the manifest of a file at once, or not at all."""
    temporary = path.with_name(f".{path.name}{_MANIFEST}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600)
    try:
        _give(descriptor, owner)
        _write_at(descriptor, f"{json.dumps(dict(facts), indent=1)}\n".encode(), 0)
        os.fsync(descriptor)
        temporary.rename(_manifest(path))
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    _sync_directory(path.parent)


def _write_at(descriptor: int, content: bytes, position: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(descriptor, view, position)
        view, position = view[written:], position + written


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_directory(directory: Path) -> tuple[int, int]:
    """Make a directory and those above it that are missing; return whom its files belong to.

    What root makes in another user's directory is given to that user: the daemon goes on there.
    """
    missing = [one for one in (directory, *directory.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(mode=0o700, exist_ok=True)
        above = one.parent.stat()
        if os.geteuid() == 0:
            os.chown(one, above.st_uid, above.st_gid)
        _sync_directory(one.parent)
    status = directory.stat()
    return status.st_uid, status.st_gid


def _give(descriptor: int, owner: tuple[int, int]) -> None:
    if os.geteuid() == 0:
        os.fchown(descriptor, *owner)
