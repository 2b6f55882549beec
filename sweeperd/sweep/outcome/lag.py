"""How far a sweep is behind: the age of its oldest expired row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

LagMethod = Literal["exact", "sample"]


@dataclass(frozen=True)
class RetentionLag:
    """The retention lag at one instant: cutoff minus column plus keep, of the oldest expired row.

    Attributes:
        seconds: 0 when no row is expired that a whole pass did not set aside; None when it could
            not be measured.
        method: ``exact`` by an index or a whole small table; by ``sample`` it is at least that.
        oldest: When the oldest expired row expired, UTC; None when there is none, or when that
            lies before the year 1.
        reason: Why it could not be measured, or not as a whole; None when it was.
    """

    seconds: float | None
    method: LagMethod | None = None
    oldest: datetime | None = None
    reason: str | None = None
