"""The number of the newest commit, in a file of its own: by it a database that lost some is seen.

It is written after each commit and not synced, so that it is never ahead of what is on disk.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from sweeperd.host.files import open_directory, read_small, write_small

SEQUENCE: Final = "state.sequence"
_DIGITS: Final = 20  # it is written over in place, so each has the same length


def read_sequence(directory: Path) -> int | None:
    """Return the number of the newest commit; None when nothing was ever committed.

    Raises:
        OSError: It cannot be read.
        ValueError: It is damaged.
    """
    try:
        with open_directory(directory) as opened:
            text = read_small(opened, SEQUENCE, 2 * _DIGITS).decode("ascii", "replace")
    except FileNotFoundError:
        return None
    if not text.strip().isdecimal():
        raise ValueError(f"{SEQUENCE} is damaged")
    return int(text)


def least_commits(directory: Path) -> int:
    """Return the number at which a new database begins: it is behind none that was there."""
    try:
        return read_sequence(directory) or 0
    except (OSError, ValueError):
        return 0


def write_sequence(directory: Path, commits: int) -> None:
    """Make the file of the sequence, or put another in its place.

    Raises:
        OSError: It cannot be written.
    """
    with open_directory(directory) as opened:
        write_small(opened, SEQUENCE, _text(commits))


def open_sequence(directory: Path) -> int:
    """Return a descriptor of the file, which is made where it is missing.

    Raises:
        OSError: It cannot be opened or made.
        ValueError: It is damaged.
    """
    if read_sequence(directory) is None:
        write_sequence(directory, 0)
    return os.open(directory / SEQUENCE, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)


def note_commit(descriptor: int, commits: int) -> None:
    """Write the number of a commit over the former one.

    Raises:
        OSError: It cannot be written.
    """
    os.pwrite(descriptor, _text(commits), 0)


def _text(commits: int) -> bytes:
    return f"{commits:0{_DIGITS}}\n".encode()
