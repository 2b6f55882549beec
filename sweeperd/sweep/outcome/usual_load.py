"""How much of a table usually expires between two runs, for the guard of jumps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Final

from pydantic import ConfigDict, Field

DAY: Final = 86_400_000_000  # microseconds
# Exact: state of another form is damaged, and damaged state holds the sweep.
STORED: Final = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
# A load that comes once a month is known when it comes again.
_KNOWN_DAYS: Final = 40


NotNegative = Annotated[float, Field(ge=0)]


@dataclass(frozen=True)
class Amount:
    """How much of a table is expired, or is expected to be.

    Attributes:
        share: Of the sampled rows.
        rows: Of the whole table, estimated; None when it is not known.
    """

    share: float
    rows: float | None


@dataclass(frozen=True)
class Day:
    """What expired in one day.

    Attributes:
        day: Days since 2000-01-01 UTC.
        share: The greatest share that one run found expired.
        rows: The most rows that one run found expired.
        total_share: The sum of what its runs found, brought down to one day's part where a run
            came after more than a day.
        total_rows: Likewise, in rows.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STORED

    day: int
    share: NotNegative = 0.0
    rows: NotNegative = 0.0
    total_share: NotNegative = 0.0
    total_rows: NotNegative = 0.0

    def is_below(self, other: Day) -> bool:
        """Whether a later day has as much of everything: this one need not be kept."""
        return other.day > self.day and (
            self.share <= other.share
            and self.rows <= other.rows
            and self.total_share <= other.total_share
            and self.total_rows <= other.total_rows
        )


@dataclass(frozen=True)
class UsualLoad:
    """What earlier runs found expired; a backlog before the first drained run does not count.

    Attributes:
        drained_at: Cutoff of the newest drained run, microseconds since 2000-01-01 UTC.
        runs: Runs that drained the table since the first that did.
        share: The greatest share that a run found expired since ``drained_at``.
        rows: The most rows, likewise.
        days: The last days, oldest first, without those that a later one exceeds.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STORED

    drained_at: int
    runs: int = 0
    share: NotNegative = 0.0
    rows: NotNegative = 0.0
    days: tuple[Day, ...] = ()

    def expected(self, cutoff: int) -> Amount:
        """Return the most that should have expired since the last drained run.

        That is what one run has found before, or a day's sum in proportion to the time since.
        """
        known = self._known(cutoff)
        days = max(cutoff - self.drained_at, 0) / DAY
        return Amount(
            max((max(day.share, day.total_share * days) for day in known), default=0.0),
            max((max(day.rows, day.total_rows * days) for day in known), default=0.0),
        )

    def found(self, amount: Amount, cutoff: int) -> UsualLoad:
        """Return the load after a run that may delete what it found expired."""
        rows = amount.rows or 0.0
        today = self._today(cutoff)
        today = replace(today, share=max(today.share, amount.share), rows=max(today.rows, rows))
        return replace(
            self,
            share=max(self.share, amount.share),
            rows=max(self.rows, rows),
            days=self._with(today, cutoff),
        )

    def drained(self, cutoff: int) -> UsualLoad:
        """Return the load after a run that left no expired row."""
        part = min(DAY / max(cutoff - self.drained_at, 1), 1.0)
        today = self._today(cutoff)
        today = replace(
            today,
            total_share=today.total_share + self.share * part,
            total_rows=today.total_rows + self.rows * part,
        )
        return UsualLoad(cutoff, self.runs + 1, days=self._with(today, cutoff))

    def _known(self, cutoff: int) -> list[Day]:
        return [day for day in self.days if abs(cutoff // DAY - day.day) <= _KNOWN_DAYS]

    def _today(self, cutoff: int) -> Day:
        number = cutoff // DAY
        return next((day for day in self.days if day.day == number), Day(number))

    def _with(self, today: Day, cutoff: int) -> tuple[Day, ...]:
        days = [day for day in self._known(cutoff) if day.day != today.day] + [today]
        days.sort(key=lambda day: day.day)
        return tuple(one for one in days if not any(one.is_below(other) for other in days))
