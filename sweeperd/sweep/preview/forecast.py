"""How many batches, how long and how much WAL: from past runs, else from documented defaults."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, Literal

from sweeperd.config.models import SweepConfig
from sweeperd.postgres.catalog import Server
from sweeperd.sweep.lanes.heap import pointers_per_page
from sweeperd.sweep.plan.recheck import ROWS_PER_BLOCK_WORTH
from sweeperd.sweep.plan.strategy import Choice, read_budget
from sweeperd.sweep.preview.amount import Amount

# Of a server with 2 cores and narrow rows; a run's own past is worth more.
_ROWS_PER_SECOND: Final = {"heap": 50_000.0, "index": 10_000.0}
_BLOCKS_PER_SECOND: Final = 10_000.0
_LEAST_DELETED: Final = 1_000  # of a past run that tells of a rate
_PAST_RUNS: Final = 5
_WAL_PER_ROW: Final = 60  # bytes of a delete's record, without the image of its page


@dataclass(frozen=True)
class Forecast:
    """What deleting the expired rows takes.

    Attributes:
        batches: Transactions.
        seconds: Of work, all runs together.
        runs: Runs of ``timeout`` and ``max_rows``.
        wal_bytes: At most: each page that is touched is written whole once after a checkpoint.
        basis: What it is calibrated by.
    """

    batches: int
    seconds: float
    runs: int
    wal_bytes: int
    basis: Literal["past runs", "defaults"]


@dataclass(frozen=True)
class Pace:
    """What past runs did.

    Attributes:
        rows_per_second: Rows deleted, waits included.
        rows_per_batch: Rows of a batch.
    """

    rows_per_second: float
    rows_per_batch: float


def past_pace(history: Sequence[Mapping[str, object]]) -> Pace | None:
    """Return the pace of the newest runs that deleted many rows; None where there is none.

    Args:
        history: Reports, oldest first.
    """
    runs = [known for report in history if (known := _pace(report)) is not None][-_PAST_RUNS:]
    if not runs:
        return None
    return Pace(
        median(run.rows_per_second for run in runs), median(run.rows_per_batch for run in runs)
    )


def _pace(report: Mapping[str, object]) -> Pace | None:
    deleted, batches, seconds = (
        report.get(key) for key in ("deleted_count", "batches", "duration_seconds")
    )
    numbers = isinstance(deleted, int) and isinstance(batches, int)
    if not numbers or not isinstance(seconds, int | float):
        return None
    if deleted < _LEAST_DELETED or batches < 1 or seconds <= 0:  # type: ignore[operator]
        return None
    return Pace(deleted / seconds, deleted / batches)  # type: ignore[operator]


def forecast(
    sweep: SweepConfig,
    server: Server,
    leaves: Sequence[tuple[Choice, Amount]],
    *,
    toast_bytes: int,
    cascaded: float,
    past: Pace | None,
    learned: Mapping[str, int],
) -> Forecast | None:
    """Return what the expired rows of all leaves take; None when nobody knows how many there are.

    Args:
        sweep: Its limits.
        server: Its block size and cache.
        leaves: How each leaf is swept, and what is expired in it.
        toast_bytes: Size of the leaves' TOAST tables.
        cascaded: Rows that other tables lose.
        past: The pace of past runs.
        learned: What batches ended with, by strategy, in its lanes' units.
    """
    rows, batches, seconds, wal = 0.0, 0, 0.0, 0.0
    for choice, amount in leaves:
        if amount.expired is None:
            return None
        rows += amount.expired
        size = (
            past.rows_per_batch if past is not None else _learned(choice, server, amount, learned)
        )
        batches += _batches(sweep, choice, amount.expired, size)
        seconds += _seconds(choice, server, amount.expired, past)
        pages = min(amount.expired, choice.leaf.blocks or amount.expired)
        wal += amount.expired * _WAL_PER_ROW + pages * server.block_size
    known = sum(amount.rows or 0.0 for _, amount in leaves)
    wal += toast_bytes * (rows / known if known else 0.0) + cascaded * _WAL_PER_ROW
    if sweep.rate_limit is not None:
        seconds = max(seconds, rows / sweep.rate_limit)
    runs = max(math.ceil(seconds / sweep.timeout.total_seconds()), 1)
    if sweep.max_rows is not None:
        runs = max(runs, math.ceil(rows / sweep.max_rows))
    basis: Literal["past runs", "defaults"] = "defaults" if past is None else "past runs"
    return Forecast(batches, round(seconds, 1), runs, round(wal), basis)


def _learned(
    choice: Choice, server: Server, amount: Amount, learned: Mapping[str, int]
) -> float | None:
    """Return the rows of a batch of the size that past ones ended with; None without any."""
    units = learned.get(choice.strategy)
    if units is None or choice.strategy == "index":
        return units
    # block ranges are cut by line pointers, of which few are expired rows
    pointers = choice.leaf.blocks * pointers_per_page(server.block_size)
    return units * (amount.expired or 0.0) / pointers if pointers else None


def _batches(sweep: SweepConfig, choice: Choice, expired: float, size: float | None) -> int:
    if size is None:
        size = _ROWS_PER_SECOND[choice.strategy] * sweep.batch_target.total_seconds()
    return math.ceil(expired / max(min(size, sweep.max_batch_rows), 1.0))


def _seconds(choice: Choice, server: Server, expired: float, past: Pace | None) -> float:
    rate = past.rows_per_second if past is not None else _ROWS_PER_SECOND[choice.strategy]
    deleting = expired / rate
    if choice.strategy != "heap":
        return deleting
    blocks = choice.leaf.blocks
    budget = read_budget(choice.leaf, server)
    sparing = budget is not None and expired < blocks * ROWS_PER_BLOCK_WORTH
    reading = blocks / (budget if sparing and budget is not None else _BLOCKS_PER_SECOND)
    # a past run's rate has its reading in it, unless it is reading that takes the time
    return max(deleting, reading) if past is not None else deleting + reading
