"""How many units of a lane the next batch takes: by time, by rows, and by what it may read."""

from __future__ import annotations

import math
from typing import Final

from sweeperd.sweep.execute.density import Density
from sweeperd.sweep.execute.pace import Pace
from sweeperd.sweep.lanes.lane import Lane
from sweeperd.sweep.plan.recheck import ROWS_PER_BLOCK_WORTH

_MARGIN: Final = 0.95
_BUDGET_SECONDS: Final = 0.1  # of the read budget in one batch


class BatchSize:
    """The size of one lane's batches.

    Args:
        lane: The lane; statistics and the read budget come from it.
        target: Seconds a batch should take.
        learned: Size that the last run ended with.
        most: Seconds after which the server cancels a batch.
    """

    def __init__(self, lane: Lane, target: float, learned: int, most: float = math.inf) -> None:
        self._lane = lane
        self._density = Density(lane.density)
        self._sparing = False  # the last batch read much for few rows
        self.pace = Pace(target, learned, lane.largest_size, most)

    def units(self, rows: int) -> int:
        """Return the next batch's units, such that it deletes at most about ``rows``."""
        size = min(self.pace.size, int(rows * _MARGIN / self._density.most))
        budget = self._lane.read_budget
        if self._sparing and budget is not None:
            size = min(size, int(budget * self._lane.units_per_block * _BUDGET_SECONDS))
        return max(size, 1)

    def record(self, units: int, rows: int, seconds: float | None) -> float:
        """Take a committed batch; return the seconds to wait so that the cache is spared.

        Args:
            units: Its size.
            rows: Rows deleted.
            seconds: What it cost; None where that could not be measured.
        """
        if seconds is not None:
            self.pace.record(units, seconds)
        self._density.take(units, rows)
        budget = self._lane.read_budget
        if budget is None:
            return 0.0
        blocks = units / self._lane.units_per_block
        self._sparing = rows < blocks * ROWS_PER_BLOCK_WORTH
        return blocks / budget if self._sparing else 0.0

    def too_many(self, units: int, rows: int) -> None:
        """Take a slice that held more than ``rows``."""
        self._density.refused(units, rows)
