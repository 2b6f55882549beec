"""The former interface to holds, for programs that use it; `sweeperd hold` is the present one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sweeperd.host.clock import SystemClock
from sweeperd.sweep.guards.hold_file import Hold, Holds

__all__ = ["Request", "drop_request"]


@dataclass(frozen=True)
class Request:
    """One wish about one sweep.

    Attributes:
        action: What to do.
        sweep: The sweep's name.
        reason: The operator's own words; may be empty.
        user: Who asks.
    """

    action: Literal["hold", "release"]
    sweep: str
    reason: str = ""
    user: str = ""


def drop_request(state_dir: Path, request: Request) -> None:
    """Set or remove a hold in a state directory, as the user who owns it.

    Raises:
        OSError: The hold cannot be written or removed.
    """
    holds = Holds(state_dir, SystemClock().now)
    if request.action == "release":
        holds.release(request.sweep, request.user)
    else:
        holds.place(Hold(request.sweep, request.reason, by=request.user, since=holds.now()))
