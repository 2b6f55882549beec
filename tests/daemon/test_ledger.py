from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from sweeperd.daemon.state.database import DATABASE
from sweeperd.daemon.state.foreground import foreground_run
from sweeperd.daemon.state.found import read_records
from sweeperd.daemon.state.ledger import Ledger
from sweeperd.daemon.state.record import Loaded, SweepRecord
from sweeperd.daemon.state.rows import Snapshot
from sweeperd.daemon.state.runs import Run, read_runs
from sweeperd.daemon.state.store import Changes, StateStore
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

    def write(self, changes: Changes) -> bool:
        if not changes.sweeps:
            return super().write(changes)
        self.loop.call_soon_threadsafe(self.begun.set)
        assert self.let_go.acquire(timeout=10)
        self.writes += 1
        done = super().write(changes)
        self.loop.call_soon_threadsafe(self.written.set)
        return done


def run(outcome: str) -> Run:
    return Run("a", {"started_at": datetime.now(UTC).isoformat(), "outcome": outcome})


async def test_changes_during_a_write_become_one_more_and_each_run_is_kept(tmp_path: Path) -> None:
    store = Stalling(tmp_path)
    ledger = Ledger(store)
    ledger.settle()
    writing = asyncio.create_task(ledger.write_behind())
    memory = SweepMemory(batch_sizes={"heap": 0})
    ledger.note("a", SweepRecord(memory=memory))
    await store.begun.wait()
    for size in range(1, 100):
        memory.batch_sizes["heap"] = size
        ledger.touch("a")
    for outcome in ("capped", "drained"):
        ledger.note("a", SweepRecord(memory=memory), run(outcome))
    for expected in (0, 99):
        store.let_go.release()
        await store.written.wait()
        store.written.clear()
        assert read_records(tmp_path).records["a"].memory.batch_sizes == {"heap": expected}
    assert store.writes == 2
    assert [one["outcome"] for one in read_runs(tmp_path, "a")] == ["capped", "drained"]

    writing.cancel()
    await asyncio.wait([writing])
    ledger.flush()


async def test_the_last_word_is_the_flush_even_while_a_write_is_on_its_way(tmp_path: Path) -> None:
    store = Stalling(tmp_path)
    ledger = Ledger(store)
    writing = asyncio.create_task(ledger.write_behind())
    ledger.note("a", SweepRecord(last_outcome="drained"))
    await store.begun.wait()
    writing.cancel()
    await asyncio.sleep(0)
    assert not writing.done()
    store.let_go.release(4)
    with pytest.raises(asyncio.CancelledError):
        await writing
    ledger.note("a", SweepRecord(last_outcome="stopped"))
    ledger.flush()

    assert read_records(tmp_path).records["a"].last_outcome == "stopped"


async def test_a_sweep_that_left_the_configuration_keeps_its_record(tmp_path: Path) -> None:
    first = Ledger(StateStore(tmp_path))
    first.note("gone", SweepRecord(last_outcome="drained"))
    first.flush()
    ledger = Ledger(StateStore(tmp_path))
    ledger.note("a", SweepRecord())
    ledger.flush()

    assert set(read_records(tmp_path).records) == {"gone", "a"}
    assert ledger.record("new") == SweepRecord()


async def test_what_could_not_be_written_is_written_with_the_next_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = StateStore(tmp_path)
    ledger = Ledger(store)
    ledger.settle()
    with capture_logs():
        (tmp_path / DATABASE).unlink()
        (tmp_path / DATABASE).mkdir()
        ledger.note("a", SweepRecord(), run("drained"))
        changes = ledger._take()
        ledger._look_back(changes, is_written=store.write(changes))
        (tmp_path / DATABASE).rmdir()
        ledger.note("b", SweepRecord())
        ledger.flush()

    assert set(read_records(tmp_path).records) == {"a", "b"}
    assert len(read_runs(tmp_path, "a")) == 1


async def test_a_database_that_is_removed_under_the_daemon_is_made_anew_with_everything(
    tmp_path: Path,
) -> None:
    ledger = Ledger(StateStore(tmp_path))
    ledger.settle()
    for name in ("a", "b"):
        ledger.note(name, SweepRecord(last_outcome=name))
    changes = ledger._take()
    assert ledger._store.write(changes)
    for path in tmp_path.glob("state.db*"):
        path.unlink()
    ledger.note("a", SweepRecord(last_outcome="later"))
    ledger.flush()

    outcomes = {name: one.last_outcome for name, one in read_records(tmp_path).records.items()}
    assert outcomes == {"a": "later", "b": "b"}


async def test_a_run_takes_up_what_a_foreground_run_saved_and_keeps_its_own_schedule(
    tmp_path: Path,
) -> None:
    start = datetime.now(UTC)
    ledger = Ledger(StateStore(tmp_path))
    ledger.note("a", SweepRecord(last_start=start, memory=SweepMemory(batch_sizes={"heap": 1})))
    assert ledger._store.write(ledger._take())
    other = StateStore(tmp_path)
    with foreground_run(other, read_records(tmp_path), "a") as foreground:
        assert foreground.obstacle is None
        assert foreground.record.memory.batch_sizes == {"heap": 1}
        moved = SweepRecord(memory=SweepMemory(batch_sizes={"heap": 7}))
        assert foreground.save(moved, run("timed_out"))
        async with ledger.run("a"):  # it does not wait for that lock
            pass

    async with ledger.run("a"):
        record = ledger.record("a")
        assert record.memory.batch_sizes == {"heap": 7}
        assert record.last_start == start
        assert [one["outcome"] for one in record.history] == ["timed_out"]
        with foreground_run(other, Loaded(), "a") as foreground:
            assert "goes on" in str(foreground.obstacle)
            assert not foreground.save(SweepRecord(), run("drained"))
    other.close()
    ledger.flush()

    assert read_records(tmp_path).records["a"].last_start == start
    assert len(read_runs(tmp_path, "a")) == 1


def test_a_foreground_run_saves_nothing_beside_state_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"version": 1, "sweeps": {}}')
    for loaded, words in (
        (Loaded(unusable="it is empty"), "it is empty"),
        (Loaded(damaged={"a": "no facts"}), "no facts"),
        (Loaded(), "an earlier version"),
    ):
        with foreground_run(StateStore(tmp_path), loaded, "a") as foreground:
            assert words in str(foreground.obstacle)
            assert not foreground.save(SweepRecord(), run("drained"))
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


def test_a_snapshot_of_a_first_foreground_run_is_a_whole_record(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    assert store.write(Changes([Snapshot.of("a", SweepRecord(), keeps_schedule=True)]))
    store.close()
    assert read_records(tmp_path).records == {"a": SweepRecord()}
