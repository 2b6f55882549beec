"""A loop of a run that spins ends the run with a report of the bug."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from sweeperd.sweep.execute.turns import Turns
from sweeperd.sweep.execute.worker import Worker
from sweeperd.sweep.lanes.heap import HeapLane
from sweeperd.sweep.lanes.lane import Piece
from sweeperd.sweep.outcome.report import RunEndError
from tests.conftest import TestDatabase
from tests.sweep.engine import sweep

ROWS = (
    "CREATE TABLE t (id int PRIMARY KEY, expires_at timestamptz);"
    "INSERT INTO t SELECT g, now() - interval '1 hour' FROM generate_series(1, 2000) g;"
)


async def test_a_lane_that_never_moves_is_reported_as_a_bug(
    database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.execute(ROWS)

    def stay(_lane: HeapLane, _piece: Piece) -> None:
        pass

    monkeypatch.setattr(HeapLane, "advance", stay)

    report = await sweep(database.dsn, timeout=timedelta(seconds=20))

    assert report.outcome == "failed"
    assert "bug in sweeperd" in (report.end_reason or report.error or "")
    assert ":0/1" in (report.end_reason or report.error or "")
    assert "position (0, 0)" in (report.end_reason or report.error or "")


async def test_a_slice_that_ends_where_it_began_is_reported_as_a_bug_and_rolled_back(
    database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.execute(ROWS)
    real = HeapLane.slice_at

    def stuck(lane: HeapLane, position: Any, size: int, rows: int) -> Piece | None:
        piece = real(lane, position, size, rows)
        return piece and replace(piece, last=False, end=position)

    monkeypatch.setattr(HeapLane, "slice_at", stuck)

    report = await sweep(database.dsn, timeout=timedelta(seconds=20))

    assert report.outcome == "failed"
    assert "bug in sweeperd" in (report.end_reason or report.error or "")


async def test_a_lane_that_spins_without_a_statement_ends_before_it_blocks_the_others(
    database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.execute(ROWS)

    async def nothing(_worker: Worker, _rows: int) -> None:
        pass

    monkeypatch.setattr(Worker, "_step", nothing)

    async with asyncio.timeout(20):
        report = await sweep(database.dsn)

    assert report.outcome == "failed"
    assert "without a statement or a wait" in (report.end_reason or report.error or "")


async def test_batches_that_are_rolled_back_for_ever_end_the_run(
    database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when an error is answered by nothing that changes the next batch."""
    await database.execute(ROWS)

    async def ignore(_worker: Worker, _error: Exception, _rows: int) -> None:
        pass

    monkeypatch.setattr(Worker, "_react", ignore)
    monkeypatch.setattr(Turns.__init__, "__defaults__", (10_000, 100))
    await database.execute(
        "CREATE FUNCTION no() RETURNS trigger AS $$ BEGIN RAISE 'never'; END $$ LANGUAGE plpgsql;"
        "CREATE TRIGGER no BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION no()"
    )

    report = await sweep(database.dsn, timeout=timedelta(seconds=30))

    assert report.outcome == "failed"
    assert "100 batches were rolled back in a row" in (report.end_reason or report.error or "")


def test_a_statement_and_a_wait_begin_the_count_anew() -> None:
    turns = Turns(most_idle=3)
    for happened in (turns.statement, turns.wait) * 5:
        for _ in range(3):
            turns.turn("lane")
        happened()
    for _ in range(3):
        turns.turn("lane", (7, 1))

    with pytest.raises(RunEndError, match=r"bug in sweeperd: 3 turns .*lane lane, position \(7, 1"):
        turns.turn("lane", (7, 1))
