"""The bench reads from the server's log how long batches took there."""

from __future__ import annotations

import pytest

from bench.server_log import batch_seconds

DSN = "postgresql://postgres@/copy_1?host=/tmp/swp-x&port=5432"
BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_catalog.set_config('a', 'b', true);"
END = "SET LOCAL lock_timeout = '1s'; COMMIT"


def line(at: float, ms: float, text: str, *, pid: int = 7, database: str = "copy_1") -> str:
    return f"{at:.3f} {pid} {database} LOG:  duration: {ms} ms  statement: {text}\n"


def test_a_batch_lasts_from_its_first_message_to_the_end_of_commit() -> None:
    log = (
        line(100.080, 80.0, BEGIN + "\n\tDELETE FROM t")
        + line(100.082, 0.5, "COPY (SELECT 1) TO STDOUT")
        + line(100.090, 5.0, END)
    )

    assert batch_seconds(log, DSN) == [pytest.approx(0.09)]


def test_batches_of_two_workers_are_told_apart_by_their_backends() -> None:
    log = (
        line(100.080, 80.0, BEGIN)
        + line(100.085, 50.0, BEGIN, pid=8)
        + line(100.090, 5.0, END)
        + line(100.095, 5.0, END, pid=8)
    )

    assert batch_seconds(log, DSN) == [pytest.approx(0.09), pytest.approx(0.06)]


def test_what_only_reads_was_rolled_back_or_ran_elsewhere_is_no_batch() -> None:
    log = (
        line(1.0, 1.0, "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; SELECT 1")
        + line(1.1, 1.0, "COMMIT")
        + line(2.0, 1.0, BEGIN)
        + line(2.1, 1.0, "ROLLBACK")
        + line(2.2, 1.0, "COMMIT")
        + line(3.0, 1.0, BEGIN, database="copy_11")
        + line(3.1, 1.0, "COMMIT", database="copy_11")
        + "3.200 7 copy_1 ERROR:  canceling statement due to statement timeout\n"
    )

    assert batch_seconds(log, DSN) == []
