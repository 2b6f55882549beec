"""What is read at the moment of a scrape, instead of being counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class SweepNow:
    """What a sweep's loop does at this moment.

    Attributes:
        name: The sweep's.
        held: Whether a hold is in force.
        running: Whether a run is under way.
        next_run: When the next one starts, in seconds since 1970; None when none will.
        behind: Whether expired rows stay for longer than max_retention_lag.
        retention_lag_seconds: Age of the oldest expired row at the last look; None when that
            could not tell.
    """

    name: str
    held: bool
    running: bool
    next_run: float | None
    behind: bool = False
    retention_lag_seconds: float | None = None


class Connections(Protocol):
    """The connections of one database."""

    @property
    def in_use(self) -> int:
        """How many are lent."""

    @property
    def waiting(self) -> int:
        """How many runs wait for one."""
