from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from sweeperd.daemon.state.ledger import Ledger
from sweeperd.daemon.state.record import SweepRecord
from sweeperd.daemon.state.store import StateStore, read_records
from sweeperd.sweep.outcome.memory import SweepMemory

if TYPE_CHECKING:
    from pathlib import Path


class Stalling(StateStore):
    """A store whose writes wait to be let go."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.let_go = threading.Semaphore(0)
        self.loop = asyncio.get_running_loop()
        self.begun = asyncio.Event()
        self.written = asyncio.Event()
        self.writes = 0

    def write(self, content: bytes) -> bool:
        self.loop.call_soon_threadsafe(self.begun.set)
        assert self.let_go.acquire(timeout=10)
        self.writes += 1
        done = super().write(content)
        self.loop.call_soon_threadsafe(self.written.set)
        return done


async def test_changes_during_a_write_become_one_more(tmp_path: Path) -> None:
    store = Stalling(tmp_path)
    ledger = Ledger(store)
    writing = asyncio.create_task(ledger.write_behind())
    memory = SweepMemory(batch_sizes={"heap": 0})
    ledger.note("a", SweepRecord(memory=memory))
    await store.begun.wait()
    for cursor in range(1, 100):
        memory.batch_sizes["heap"] = cursor
        ledger.touch()
    for expected in (0, 99):
        store.let_go.release()
        await store.written.wait()
        store.written.clear()
        assert read_records(tmp_path).records["a"].memory.batch_sizes == {"heap": expected}
    assert store.writes == 2

    writing.cancel()
    await asyncio.wait([writing])


async def test_the_last_word_is_the_flush_even_while_a_write_is_on_its_way(tmp_path: Path) -> None:
    store = Stalling(tmp_path)
    ledger = Ledger(store)
    writing = asyncio.create_task(ledger.write_behind())
    ledger.note("a", SweepRecord(last_outcome="drained"))
    await store.begun.wait()
    writing.cancel()
    await asyncio.sleep(0)
    assert not writing.done()
    store.let_go.release(2)
    with pytest.raises(asyncio.CancelledError):
        await writing
    ledger.note("a", SweepRecord(last_outcome="stopped"))
    ledger.flush()

    assert read_records(tmp_path).records["a"].last_outcome == "stopped"


async def test_a_sweep_that_left_the_configuration_keeps_its_record(tmp_path: Path) -> None:
    StateStore(tmp_path).save({"gone": SweepRecord(last_outcome="drained")})
    ledger = Ledger(StateStore(tmp_path))
    ledger.note("a", SweepRecord())
    ledger.flush()

    assert set(read_records(tmp_path).records) == {"gone", "a"}
    assert ledger.record("new") == SweepRecord()
