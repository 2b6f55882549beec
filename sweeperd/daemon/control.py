"""What operators ask of the daemon through its state directory: hold or release a sweep.

A request is one small file, renamed into place; the daemon takes it and removes it.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from sweeperd.errors import SweeperdError

if TYPE_CHECKING:
    from pathlib import Path

Action = Literal["hold", "release"]
REQUESTS_DIRECTORY = "requests"

_NAME = re.compile(r"[a-z0-9_-]{1,40}")
_LONGEST = 4096


@dataclass(frozen=True)
class Request:
    """One wish about one sweep.

    Attributes:
        action: What to do.
        sweep: The sweep's name.
        reason: The operator's own words; may be empty.
        user: Who left it, by the owner of its file; empty before it was left.
    """

    action: Action
    sweep: str
    reason: str = ""
    user: str = ""


def drop_request(state_dir: Path, request: Request) -> None:
    """Leave a request for the daemon; a newer one of the same kind replaces an older.

    Raises:
        SweeperdError: The name is none, or the directory cannot be written.
    """
    if not _NAME.fullmatch(request.sweep):
        raise SweeperdError(f"{request.sweep!r} is no sweep's name")
    directory = state_dir / REQUESTS_DIRECTORY
    part = directory / f".{request.sweep}.{request.action}.{os.getpid()}"
    try:
        directory.mkdir(mode=0o770, exist_ok=True)
        part.write_text(json.dumps({"reason": request.reason[:_LONGEST]}), "utf-8")
        part.replace(directory / f"{request.sweep}.{request.action}")
    except OSError as error:
        raise SweeperdError(
            f"the request cannot be left in {directory}: {error}",
            cure="run this as root or as the user sweeperd runs as",
        ) from error


def take_requests(state_dir: Path) -> tuple[Request, ...]:
    """Return the waiting requests, oldest first, and remove them; others' files are let be."""
    directory = state_dir / REQUESTS_DIRECTORY
    found: list[tuple[int, str, Request]] = []
    with contextlib.suppress(OSError):
        for path in sorted(directory.iterdir()):
            request = _read(path)
            if request is not None:
                with contextlib.suppress(OSError):
                    found.append((path.stat().st_mtime_ns, path.name, request))
                    path.unlink()
    return tuple(request for _, _, request in sorted(found, key=lambda item: item[:2]))


def _read(path: Path) -> Request | None:
    name, _, ending = path.name.rpartition(".")
    action: Action | None = next((known for known in get_args(Action) if known == ending), None)
    if action is None or not _NAME.fullmatch(name) or not path.is_file() or path.is_symlink():
        return None
    try:
        content = json.loads(path.read_text("utf-8"))
        reason = str(content.get("reason", "")) if isinstance(content, dict) else ""
    except (OSError, ValueError):
        reason = ""
    return Request(action, name, reason, _owner(path))


def _owner(path: Path) -> str:
    try:
        number = path.stat().st_uid
        return pwd.getpwuid(number).pw_name
    except OSError:
        return ""
    except KeyError:
        return f"uid {number}"
