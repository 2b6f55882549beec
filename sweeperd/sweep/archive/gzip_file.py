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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sweeperd.sweep.archive.directory import Directory

_PART: Final = ".part"
_MANIFEST: Final = ".manifest.json"
_STAYED: Final = ".stayed"
# rows wait, locked, until they are packed: speed before size
_LEVEL: Final = 1
_CHUNK: Final = 1 << 20
_LARGEST_MANIFEST: Final = 1 << 20
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
        self._part = path.name + _PART
        self._facts = dict(facts)
        self.start = self.mark = Mark(0, 0, hashlib.sha256())
        self._stayed: int | None = None
        self._stayed_count = 0
        self._directory = Directory(path.parent, make=True)
        try:
            if self._directory.exists(path.name):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
            self._descriptor = _make_locked(self._directory, self._part)
            try:
                # the facts must survive a crash, too
                _write(self._directory, path.name, {**self._facts, "complete": False})
            except OSError:
                self._directory.remove(self._part)
                os.close(self._descriptor)
                raise
        except OSError:
            self._directory.close()
            raise

    def append(self, lines: list[str]) -> None:
        """Write lines as one gzip member and sync it to disk.

        Raises:
            OSError: Disk full, or worse; the file ends where it did before.
        """
        before = self.mark
        if os.fstat(self._descriptor).st_nlink == 0:
            part = str(self.path.with_name(self._part))
            raise FileNotFoundError(errno.ENOENT, "somebody removed it", part)
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

    def note_stayed(self, numbers: Sequence[int]) -> None:
        """Note lines whose rows are in the table all the same, as a script for sed(1).

        Args:
            numbers: Of the lines, from 1, in order.

        Raises:
            OSError: Disk full, or worse.
        """
        if self._stayed is None:
            self._stayed = self._directory.create(self.path.name + _STAYED)
        script = "".join(f"{first},{last}d\n" for first, last in _ranges(numbers))
        _write_at(self._stayed, script.encode(), os.fstat(self._stayed).st_size)
        self._stayed_count += len(numbers)

    def finish(self) -> None:
        """Write the manifest and give the file its name; an empty one goes.

        Raises:
            OSError: Disk full, or worse; the next run tries again.
        """
        try:
            if self._stayed is not None:
                os.fsync(self._stayed)
            if self.mark.count:
                facts = {**self._facts, "stayed": self._stayed_count}
                _conclude(self._directory, self.path.name, facts, self.mark, complete=True)
            else:
                self._directory.remove(self._part)
                self._directory.remove(self.path.name + _MANIFEST)
                self._directory.remove(self.path.name + _STAYED)
        finally:
            if self._stayed is not None:
                os.close(self._stayed)
            os.close(self._descriptor)
            self._directory.close()


def _ranges(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last of each run of numbers without a gap."""
    first = last = None
    for number in numbers:
        if last is not None and number == last + 1:
            last = number
            continue
        if first is not None and last is not None:
            yield first, last
        first = last = number
    if first is not None and last is not None:
        yield first, last


def repair(directory: Path) -> list[Path]:
    """Finish what crashed runs left in a directory; return the files, now whole.

    A file that a living run still writes is let be.

    Raises:
        OSError: One cannot be read or written.
    """
    try:
        opened = Directory(directory)
    except FileNotFoundError:
        return []
    with opened:
        parts = [name for name in opened.names() if name.endswith(_PART)]
        return [directory / name for part in parts for name in _repair(opened, part)]


def _make_locked(directory: Directory, part: str) -> int:
    """Make a file and lock it; return its descriptor.

    Between the two, another run's repair may have taken it for a crashed one's and removed it.
    """
    while True:
        descriptor = directory.create(part)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)


def _repair(directory: Directory, part: str) -> Iterator[str]:
    try:
        descriptor = directory.open(part, os.O_RDWR)
    except FileNotFoundError:
        return  # finished meanwhile
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return
        if not os.fstat(descriptor).st_nlink or not directory.exists(part):
            return  # finished meanwhile
        name = part.removesuffix(_PART)
        mark = _whole_members(descriptor)
        os.ftruncate(descriptor, mark.size)
        os.fsync(descriptor)
        if mark.count == 0:
            directory.remove(part)
            directory.remove(name + _MANIFEST)
            directory.remove(name + _STAYED)
            return
        _conclude(directory, name, _facts(directory, name), mark, complete=False)
        yield name
    finally:
        os.close(descriptor)


def _facts(directory: Directory, name: str) -> dict[str, Any]:
    try:
        descriptor = directory.open(name + _MANIFEST)
        with os.fdopen(descriptor, "rb") as stream:
            facts = json.loads(stream.read(_LARGEST_MANIFEST))
    except (OSError, ValueError, RecursionError):
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
    directory: Directory, name: str, facts: Mapping[str, Any], mark: Mark, *, complete: bool
) -> None:
    """Tell count and SHA-256 beside a file, and let it stand under its name."""
    told = {
        **facts,
        "file": name,
        "count": mark.count,
        "bytes": mark.size,
        "sha256": mark.digest.hexdigest(),
        "complete": complete,
    }
    _write(directory, name, told)
    directory.rename(name + _PART, name)
    directory.sync()


def _write(directory: Directory, name: str, facts: Mapping[str, Any]) -> None:
    """Replace the manifest of a file at once, or not at all."""
    temporary = f".{name}{_MANIFEST}"
    # what a crash left, or somebody laid there, is not written to
    directory.remove(temporary)
    descriptor = directory.create(temporary)
    try:
        _write_at(descriptor, f"{json.dumps(dict(facts), indent=1)}\n".encode(), 0)
        os.fsync(descriptor)
        directory.rename(temporary, name + _MANIFEST)
    except OSError:
        directory.remove(temporary)
        raise
    finally:
        os.close(descriptor)
    directory.sync()


def _write_at(descriptor: int, content: bytes, position: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(descriptor, view, position)
        view, position = view[written:], position + written
