"""What lanes side by side may delete together."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeperd.config.models import SweepConfig
from sweeperd.host.clock import SystemClock
from sweeperd.log.event import Event
from sweeperd.log.run_events import Waiting
from sweeperd.sweep.execute.row_limits import RowLimits
from sweeperd.sweep.execute.waits import Waits
from sweeperd.sweep.outcome.report import Report, RunEndError

limits = st.none() | st.integers(1, 50)


def settings(max_batch_rows: int, rate: int | None, most: int | None) -> SweepConfig:
    return SweepConfig(
        name="s",
        database="app",
        table="t",
        column="c",
        keep=timedelta(0),
        max_batch_rows=max_batch_rows,
        rate_limit=rate,
        max_rows=most,
    )


@given(st.integers(1, 50), limits, limits, limits, st.lists(st.integers(1, 5), max_size=20))
def test_lanes_together_reserve_no_more_than_is_left(
    batch: int, rate: int | None, most: int | None, cap: int | None, lanes: list[int]
) -> None:
    report = Report("s", "id")
    row_limits = RowLimits(settings(batch, rate, most), report, cap)
    allowed = min((one for one in (most, cap) if one is not None), default=None)
    for number in lanes:  # each round some lanes have a batch under way, and then all commit
        if row_limits.is_reached:
            break
        with ExitStack() as stack:
            rows = [stack.enter_context(row_limits.reserve_rows()) for _ in range(number)]
            assert rows[0] >= 1
            reserved = [max(one, 0) for one in rows]
            assert max(reserved) <= batch
            assert rate is None or sum(reserved) <= rate
            assert allowed is None or report.deleted_count + sum(reserved) <= allowed
        report.deleted_count += sum(reserved)
    assert allowed is None or report.deleted_count <= allowed


def test_the_key_to_raise_is_told_without_what_is_reserved() -> None:
    row_limits = RowLimits(settings(5, 7, None), Report("s", "id"))

    with row_limits.reserve_rows() as rows:
        assert rows == 5
        assert row_limits.tightest_limit == "max_batch_rows"
        with row_limits.reserve_rows() as others:
            assert others == 2
            assert row_limits.exhausted_limit == "rate_limit"


def test_a_run_is_capped_once_all_that_it_may_delete_is_deleted() -> None:
    report = Report("s", "id")
    row_limits = RowLimits(settings(5, None, 7), report)
    row_limits.check()
    report.deleted_count = 7

    with pytest.raises(RunEndError, match="max_rows = 7 reached"):
        row_limits.check()


async def test_a_lane_waits_for_rows_that_another_has_reserved() -> None:
    report, stop = Report("s", "id"), asyncio.Event()
    row_limits = RowLimits(settings(5, None, 5), report)
    told: list[Event] = []
    waits = Waits(settings(5, None, 5), SystemClock(), told.append, report, stop, row_limits)

    async def other() -> int:
        async with waits.allowed_rows() as rows:
            return rows

    async with asyncio.timeout(20):
        async with waits.allowed_rows() as rows:
            assert rows == 5
            waiting = asyncio.ensure_future(other())
            while not told:
                await asyncio.sleep(0)
            report.deleted_count = 3
        assert await waiting == 2
    assert {event.reason for event in told if isinstance(event, Waiting)} == {"max_rows"}
    assert report.waited_seconds.keys() == {"max_rows"}
