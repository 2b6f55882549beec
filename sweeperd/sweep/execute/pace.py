"""How large the next batch is: size follows time."""

from __future__ import annotations

import math
from typing import Final

from sweeperd.sweep.execute.cost import CostModel

_GROWTH: Final = 3.0
# A batch this far below the target may be followed by a much larger one: even if cost rose with
# the square of size, that one would take four times the target, and no trigger's does.
_QUICK_SHARE: Final = 1 / 16
_QUICK_GROWTH: Final = 8.0
_MOST_HALVINGS: Final = 3
# A size this close to the last would tell nothing of the two parts of the cost.
_ALIKE: Final = 1.5
# Aim below the target, so that the spread of batch times stays under twice the target.
_AIM: Final = 0.85


class Pace:
    """Steers batches to a duration; a timeout halves at once.

    Sizes are in a lane's own units: rows for slices of the column, line pointers for block
    ranges.

    Args:
        target: Seconds a batch should take.
        size: First size.
        largest: Never larger.
        most: Seconds after which a batch is cancelled.
    """

    def __init__(self, target: float, size: int, largest: int, most: float = math.inf) -> None:
        self._target = target * _AIM
        self._most = most
        self._largest = max(largest, 1)
        self._size = float(min(max(size, 1), self._largest))
        self._cost = CostModel()
        self._timeouts = 0

    @property
    def size(self) -> int:
        """Units of the next batch."""
        return max(int(self._size), 1)

    def record(self, units: int, seconds: float) -> None:
        """Take what a batch cost that committed, round trips left out.

        A batch that was smaller than asked for, such as the last of a table, makes the next one
        no smaller by that.
        """
        if units <= 0:
            return
        self._timeouts = 0
        self._cost = self._cost.take(units, seconds)
        wanted = self._cost.units_in(self._target, self._most)
        if not self._cost.is_told_apart and units / _ALIKE < wanted < units * _ALIKE:
            wanted = units / 2  # one smaller batch shows how much of the cost is fixed
        growth = _QUICK_GROWTH if seconds < self._target * _QUICK_SHARE else _GROWTH
        grown = max(units * growth, self._size)
        self._size = max(min(wanted, grown, float(self._largest)), 1.0)

    def halve(self, units: int | None = None) -> None:
        """Halve after a timeout; timeouts in a row quarter, then cut to an eighth.

        Args:
            units: Size of the batch that timed out, where it was smaller than asked for.
        """
        self._timeouts = min(self._timeouts + 1, _MOST_HALVINGS)
        size = self._size if units is None else min(self._size, float(units))
        self._size = max(size / 2**self._timeouts, 1.0)
        self._cost = CostModel()

    def limit(self, largest: int) -> None:
        """Lower the largest size for good."""
        self._largest = max(min(self._largest, largest), 1)
        self._size = min(self._size, float(self._largest))
