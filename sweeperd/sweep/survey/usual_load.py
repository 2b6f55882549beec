"""How much of a table usually expires between two runs, for the guard of jumps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from statistics import median
from typing import Final, Self

_DAY: Final = 86_400_000_000  # microseconds
_HOURS: Final = 24
# A load that comes once a month is known when it comes again.
_KNOWN_DAYS: Final = 40


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

    day: int
    share: float = 0.0
    rows: float = 0.0
    total_share: float = 0.0
    total_rows: float = 0.0

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

    drained_at: int
    runs: int = 0
    share: float = 0.0
    rows: float = 0.0
    days: tuple[Day, ...] = ()

    def expected(self, cutoff: int) -> Amount:
        """Return the most that should have expired since the last drained run.

        That is what one run has found before, or a day's sum in proportion to the time since.
        """
        known = self._known(cutoff)
        days = max(cutoff - self.drained_at, 0) / _DAY
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
        part = min(_DAY / max(cutoff - self.drained_at, 1), 1.0)
        today = self._today(cutoff)
        today = replace(
            today,
            total_share=today.total_share + self.share * part,
            total_rows=today.total_rows + self.rows * part,
        )
        return UsualLoad(cutoff, self.runs + 1, days=self._with(today, cutoff))

    def as_json(self) -> dict[str, object]:
        """Return JSON-able fields."""
        return {**asdict(self), "days": [asdict(day) for day in self.days]}

    @classmethod
    def from_json(cls, stored: object) -> Self | None:
        """Read a load back; None when there is none.

        Raises:
            ValueError: It has another form than `as_json` writes.
        """
        if stored is None:
            return None
        if not isinstance(stored, Mapping):
            raise ValueError("it is not an object")  # noqa: TRY004 - one error for another form
        if "rates" in stored:
            return cls._from_rates(stored)
        days = stored.get("days")
        if set(stored) != {field.name for field in fields(cls)} or not isinstance(days, list):
            raise ValueError("it has other fields")
        return cls(
            drained_at=_whole(stored["drained_at"]),
            runs=_whole(stored["runs"]),
            share=_number(stored["share"]),
            rows=_number(stored["rows"]),
            days=tuple(_day(day) for day in days),
        )

    @classmethod
    def _from_rates(cls, stored: Mapping[str, object]) -> Self:
        """Read the former form: the shares per hour of the last runs; their median counts."""
        drained_at, rates = _whole(stored.get("drained_at")), stored["rates"]
        if not isinstance(rates, list):
            raise ValueError("rates is not a list")  # noqa: TRY004 - one error for another form
        numbers = [_number(rate) for rate in rates]
        usual = median(numbers) if numbers else 0.0
        day = Day(drained_at // _DAY, total_share=usual * _HOURS)
        return cls(drained_at, runs=len(numbers), days=(day,))

    def _known(self, cutoff: int) -> list[Day]:
        return [day for day in self.days if abs(cutoff // _DAY - day.day) <= _KNOWN_DAYS]

    def _today(self, cutoff: int) -> Day:
        number = cutoff // _DAY
        return next((day for day in self.days if day.day == number), Day(number))

    def _with(self, today: Day, cutoff: int) -> tuple[Day, ...]:
        days = [day for day in self._known(cutoff) if day.day != today.day] + [today]
        days.sort(key=lambda day: day.day)
        return tuple(one for one in days if not any(one.is_below(other) for other in days))


def _day(stored: object) -> Day:
    names = {field.name for field in fields(Day)}
    if not isinstance(stored, Mapping) or set(stored) != names:
        raise ValueError("a day has other fields")
    numbers = {name: _number(stored[name]) for name in names - {"day"}}
    return Day(day=_whole(stored["day"]), **numbers)


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("a whole number is something else")  # noqa: TRY004 - as above
    return value


def _number(value: object) -> float:
    """Return a finite number of 0 or more."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("a number is something else")  # noqa: TRY004 - as above
    try:
        number = float(value)
    except OverflowError:
        raise ValueError("a number is too large") from None
    if not math.isfinite(number) or number < 0:
        raise ValueError("a number is negative or not finite")
    return number
