"""Whether others could have written the configuration, or can read a password in it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from sweeperd.config.models import DatabaseConfig
from sweeperd.config.values.dsn import has_password
from sweeperd.errors import Problem
from sweeperd.host.permissions import exposures, readable_by_all


def distrust(paths: Iterable[Path], state_dir: Path) -> Iterator[Problem]:
    """Yield why files of the configuration, or directories, cannot be trusted; each once.

    Args:
        paths: What was read, and the directory that more could be laid into.
        state_dir: Where this process works; its owner's files are trusted by root, who becomes
            that user before anything in them is used.
    """
    trusted: list[int] = []
    if os.geteuid() == 0:
        with suppress(OSError):
            trusted.append(state_dir.stat().st_uid)
    told: set[tuple[Path, str]] = set()
    for path in paths:
        with suppress(OSError):
            for found in exposures(path, trusted):
                if (found.path, found.fault) not in told:
                    told.add((found.path, found.fault))
                    yield Problem(str(found.path), "", f"{found.fault}; run: {found.cure}")


def exposed_secrets(databases: Iterable[DatabaseConfig], files: Iterable[Path]) -> Iterator[str]:
    """Yield a warning for each file that holds a password and can be read by every user."""
    databases = list(databases)
    if any(has_password(database.dsn) for database in databases):
        for path in files:
            if readable_by_all(path):
                yield (
                    f"{path} can be read by every user of this host and a dsn holds a password; "
                    f"run: chmod o-rwx {path}, or keep the password in a password_file"
                )
    for database in databases:
        file = database.password_file
        if file is not None and readable_by_all(Path(file)):
            yield (
                f"the password_file {file} of databases.{database.name} can be read by every "
                f"user of this host; run: chmod o-rwx {file}"
            )
