"""State that cannot be used is renamed: it may be evidence, or a later version's property."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from sweeperd.daemon.state.database import DATABASE, WITH_DATABASE
from sweeperd.daemon.state.found import Trouble
from sweeperd.daemon.state.sequence import read_sequence, write_sequence
from sweeperd.log.daemon_events import StateSetAside
from sweeperd.log.event import emit

_KEPT_COPIES: Final = 9


def set_aside(directory: Path, trouble: Trouble) -> None:
    """Rename a file that cannot be used, and say so; one that may be good stays.

    Args:
        directory: The state directory.
        trouble: The file, and why.
    """
    path = directory / trouble.file
    if trouble.aside is None:
        emit(StateSetAside(str(path), trouble.reason))
        return
    kept = _free_name(path, trouble.aside)
    try:
        _note_use(directory)
        path.replace(kept)
    except FileNotFoundError:
        emit(StateSetAside(str(path), trouble.reason))  # it is what is missing
    except OSError as error:
        emit(StateSetAside(str(path), trouble.reason, error=str(error)))
        return
    else:
        emit(StateSetAside(str(path), trouble.reason, kept=str(kept)))
    if trouble.file == DATABASE:
        for suffix in WITH_DATABASE:  # SQLite would put them into a new database
            with suppress(OSError):
                (directory / (DATABASE + suffix)).replace(kept.with_name(kept.name + suffix))


def _free_name(path: Path, aside: str) -> Path:
    first = path.with_name(f"{path.name}.{aside}")
    names = [first, *(first.with_name(f"{first.name}.{n}") for n in range(2, _KEPT_COPIES + 1))]
    return next((name for name in names if not os.path.lexists(name)), names[-1])


def _note_use(directory: Path) -> None:
    """Make sure that a crash after this does not leave what looks like a fresh directory.

    Raises:
        OSError: It cannot be noted.
    """
    with suppress(ValueError):  # what is damaged is there, and holds
        if read_sequence(directory) is None:
            write_sequence(directory, 0)
