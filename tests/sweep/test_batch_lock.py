"""The lock of a batch: whoever sets a hold waits for its sweep's batches, and for no other's."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

from sweeperd.sweep.guards.batch_lock import LOCK, BatchesUnderWay, BatchLocks, open_anchor


def under_way(state: Path, *sweeps: str) -> BatchesUnderWay:
    return BatchesUnderWay(state, sweeps or None, open_anchor(state))


def begin(locks: BatchLocks, sweep: str) -> ExitStack:
    batch = ExitStack()
    try_lock = batch.enter_context(locks.batch(sweep))
    assert try_lock()
    return batch


def test_batches_side_by_side_are_all_waited_for(tmp_path: Path) -> None:
    locks = BatchLocks(tmp_path)
    first, second = begin(locks, "s"), begin(locks, "s")
    batches = under_way(tmp_path, "s")

    first.close()
    assert batches.are_left()
    assert batches.processes() == [os.getpid()]
    second.close()
    assert not batches.are_left()


def test_the_batches_of_another_sweep_are_not_waited_for(tmp_path: Path) -> None:
    other = begin(BatchLocks(tmp_path), "other")

    assert not under_way(tmp_path, "s").are_left()
    every = under_way(tmp_path)
    assert every.are_left()
    other.close()
    assert not every.are_left()


def test_a_process_needs_one_descriptor_for_the_batches_of_all_its_sweeps(tmp_path: Path) -> None:
    locks = BatchLocks(tmp_path)
    with begin(locks, "first"):
        before = len(list(Path("/proc/self/fd").iterdir()))
        with ExitStack() as stack:
            for number in range(20):
                stack.enter_context(begin(locks, f"s{number}"))
            assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_lock_file_that_was_removed_meanwhile_is_made_anew(tmp_path: Path) -> None:
    locks = BatchLocks(tmp_path)
    former = begin(locks, "s")
    (tmp_path / LOCK).unlink()
    batch = begin(locks, "s")
    former.close()

    batches = under_way(tmp_path, "s")
    assert batches.are_left()
    batch.close()
    assert not batches.are_left()
