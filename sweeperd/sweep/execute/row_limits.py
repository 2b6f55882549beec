"""How many rows a batch may delete: what all lanes of a run have left between them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sweeperd.config.models import SweepConfig
from sweeperd.sweep.outcome.report import Report, RunEndError


class RowLimits:
    """The limits of one run, shared by its lanes.

    Args:
        sweep: Its keys max_batch_rows, rate_limit and max_rows.
        report: The run's; tells what was deleted.
        max_rows: A cap beside the sweep's own.
    """

    def __init__(self, sweep: SweepConfig, report: Report, max_rows: int | None = None) -> None:
        caps = [cap for cap in (max_rows, sweep.max_rows) if cap is not None]
        self.max_rows = min(caps, default=None)
        self._max_batch_rows = sweep.max_batch_rows
        self._rate_limit = sweep.rate_limit
        self._report = report
        self._reserved = 0

    @property
    def is_reached(self) -> bool:
        """Whether the run has deleted all that it may."""
        return self.max_rows is not None and self._report.deleted_count >= self.max_rows

    def check(self) -> None:
        """Raise RunEndError when the run has deleted all that it may."""
        if self.is_reached:
            raise RunEndError("capped", f"max_rows = {self.max_rows} reached")

    @property
    def tightest_limit(self) -> str:
        """The key that limits a batch's rows, whatever other lanes have reserved."""
        return _tightest(self._limits(reserved=0))

    @property
    def exhausted_limit(self) -> str:
        """The key whose rows other lanes have reserved."""
        return _tightest(self._limits(self._reserved))

    @contextmanager
    def reserve_rows(self) -> Iterator[int]:
        """Reserve rows for one batch, so that lanes together stay below the limits.

        Yields:
            The rows; below 1 while other lanes have reserved the rest.
        """
        rows = min(self._limits(self._reserved).values())
        self._reserved += max(rows, 0)
        try:
            yield rows
        finally:
            self._reserved -= max(rows, 0)

    def pause_after(self, rows: int) -> float:
        """Return the seconds that rate_limit asks for after a batch."""
        return rows / self._rate_limit if self._rate_limit else 0.0

    def _limits(self, reserved: int) -> dict[str, int]:
        limits = {"max_batch_rows": self._max_batch_rows}
        if self._rate_limit:
            limits["rate_limit"] = self._rate_limit - reserved
        if self.max_rows is not None:
            limits["max_rows"] = self.max_rows - self._report.deleted_count - reserved
        return limits


def _tightest(limits: dict[str, int]) -> str:
    return min(limits, key=lambda key: limits[key])
