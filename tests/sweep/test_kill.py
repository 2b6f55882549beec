"""A connection that is lost at any step costs nothing: no row, no count, no cursor."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from sweeperd.postgres.proof import Epoch, Proof
from sweeperd.postgres.transaction import CommitUnknownError, commit
from tests.conftest import TestDatabase
from tests.sweep.engine import sweep
from tests.sweep.proxy import Proxy

ROWS = (
    "DROP TABLE IF EXISTS t; CREATE TABLE t AS SELECT g AS id, now() + "
    "CASE WHEN g % 2 = 0 THEN -1 ELSE 1 END * interval '1 hour' AS expires_at "
    "FROM generate_series(1, 400) g; CREATE INDEX ON t (expires_at)"
)


LEAVES = (
    "DROP TABLE IF EXISTS t; CREATE TABLE t (id int, expires_at timestamptz) "
    "PARTITION BY HASH (id);"
    "CREATE TABLE t0 PARTITION OF t FOR VALUES WITH (MODULUS 3, REMAINDER 0);"
    "CREATE TABLE t1 PARTITION OF t FOR VALUES WITH (MODULUS 3, REMAINDER 1);"
    "CREATE TABLE t2 PARTITION OF t FOR VALUES WITH (MODULUS 3, REMAINDER 2);"
    "INSERT INTO t SELECT g, now() + CASE WHEN g % 2 = 0 THEN -1 ELSE 1 END * "
    "interval '1 hour' FROM generate_series(1, 400) g"
)


@pytest.mark.parametrize("made", [(ROWS, "heap"), (ROWS, "index"), (LEAVES, "heap")])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_connection_cut_at_every_message_loses_nothing(
    database: TestDatabase, made: tuple[str, str], *, after: bool
) -> None:
    rows, strategy = made
    socket = Path(database.server.directory) / f".s.PGSQL.{database.server.port}"
    await database.execute(rows)
    async with Proxy(socket) as whole:
        await sweep(whole.dsn(database.name), strategy=strategy, max_batch_rows=90)
    assert whole.seen > 20
    drained = 0
    for step in range(1, whole.seen + 1):
        await database.execute(rows)
        async with Proxy(socket, step, after) as proxy:
            report = await sweep(proxy.dsn(database.name), strategy=strategy, max_batch_rows=90)
        left = await database.fetch("SELECT id FROM t")
        assert sum(row["id"] % 2 for row in left) == 200, f"a live row is gone, step {step}"
        assert report.deleted_count == 400 - len(left), (step, report)
        assert not any("COMMIT" in warning for warning in report.warnings), (step, report.warnings)
        if report.outcome == "drained":
            drained += 1
            assert len(left) == 200
        else:  # nothing is retried before the first batch: the daemon does that
            assert (report.exit_code, report.batches) == (69, 0), (step, report)
    assert drained >= 9  # three batches of three messages


@pytest.mark.parametrize("strategy", ["heap", "index"])
async def test_a_server_that_dies_in_the_middle_ends_the_run_with_69(
    database: TestDatabase, strategy: str
) -> None:
    await database.execute(ROWS)
    socket = Path(database.server.directory) / f".s.PGSQL.{database.server.port}"
    async with Proxy(socket, 90, for_good=True) as proxy:
        report = await sweep(
            proxy.dsn(database.name),
            strategy=strategy,
            max_batch_rows=20,
            timeout=timedelta(seconds=3),
        )

    left = await database.fetchval("SELECT count(*) FROM t")
    assert (report.outcome, report.exit_code) == ("failed", 69)
    assert report.deleted_count == 400 - left > 0


class Stalled(Proxy):
    """Takes a message and never passes it on."""

    reached: asyncio.Event

    async def cut(self) -> None:
        self.reached.set()
        await asyncio.Event().wait()


async def test_a_timeout_that_falls_into_a_commit_without_answer_is_not_lost(
    database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A timeout cancels once; whoever accounts for the COMMIT must hear of it."""
    monkeypatch.setattr("sweeperd.postgres.transaction.COMMIT_BOUND", 0.3)
    socket = Path(database.server.directory) / f".s.PGSQL.{database.server.port}"
    async with Stalled(socket) as proxy:
        connection = await asyncpg.connect(proxy.dsn(database.name))
        await connection.execute("BEGIN")
        proxy.cut_at, proxy.reached = proxy.seen + 1, asyncio.Event()
        committing = asyncio.ensure_future(
            commit(connection, Proof("1", Epoch("", None), (), (), (), (), (), ()))
        )
        await proxy.reached.wait()
        committing.cancel()

        with pytest.raises(CommitUnknownError) as raised:
            await committing
    assert raised.value.cancelled
