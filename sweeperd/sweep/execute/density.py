"""How many expired rows a unit of a lane holds at most, as far as batches have shown."""

from __future__ import annotations

from collections import deque
from math import sqrt
from typing import Final

_LEAST: Final = 1e-9
_DOUBT: Final = 1.25  # what statistics say is an average
_MEMORY: Final = 0.8  # what an older batch still weighs when a newer one is seen
# A page may be full again behind the empty end of the one before.
_BATCHES_REMEMBERED: Final = 8
_TOO_MANY: Final = 1.5
_TOO_MANY_AGAIN: Final = 4.0


class Density:
    """Expired rows per unit, the most that the next batch should reckon with.

    Where none were found the next batch may be three times as large, and so on: a table
    of few expired rows takes few batches even when each may delete but ten.

    Args:
        statistics: Expired rows per unit at most, as statistics and a sample tell; 0 when they do
            not.
    """

    def __init__(self, statistics: float) -> None:
        # without statistics a unit counts as a row, for no lane has more
        self._assumed = min(max(statistics * _DOUBT, _LEAST), 1.0) if statistics else 1.0
        self._last: deque[float] = deque(maxlen=_BATCHES_REMEMBERED)
        self._units = self._rows = 0.0
        self._refusals = 0

    @property
    def most(self) -> float:
        """Rows per unit, above 0."""
        if not self._last:
            return self._assumed
        # two standard deviations; 3 is what may be there, one time in twenty, when none was seen
        seen = (self._rows + 2 * sqrt(self._rows) + 3) / self._units
        return max(self._highest, min(seen, 1.0))

    @property
    def _highest(self) -> float:
        return max(self._last, default=0.0)

    def take(self, units: int, rows: int) -> None:
        """Take what a batch deleted."""
        self._refusals = 0
        self._units = self._units * _MEMORY + units
        self._rows = self._rows * _MEMORY + rows
        self._last.append(rows / units)

    def refused(self, units: int, rows: int) -> None:
        """Take that ``units`` held more than ``rows``; how many is not known."""
        self._refusals += 1
        factor = _TOO_MANY if self._refusals == 1 else _TOO_MANY_AGAIN
        self._last.append(max(self._highest, rows / units) * factor)
        self._units, self._rows = self._units + units, self._rows + rows
