"""Sweeps beside living applications: renewals, locks, deadlocks, a second sweep."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from sweeperd.log.event import Event
from sweeperd.log.events import SweepThrottled
from sweeperd.postgres.sql.slices import TidRange
from sweeperd.postgres.transaction import Frame, fence_key
from sweeperd.sweep.execute.batch import BatchLimits
from sweeperd.sweep.execute.session import Session
from tests.conftest import TestDatabase
from tests.sweep.engine import Heard, sweep

SESSIONS = (
    "CREATE TABLE t (id int PRIMARY KEY, expires_at timestamptz NOT NULL, n int DEFAULT 0);"
    "INSERT INTO t SELECT g, now() + (g % 20 - 10) * interval '1 second' "
    "FROM generate_series(1, 4000) g"
)


async def renew(connection: Any, number: random.Random, promised: dict[int, Any]) -> None:
    """Renew one session, sometimes committing late; note what was promised after COMMIT."""
    id_ = number.randint(1, 4000)
    transaction = connection.transaction()
    await transaction.start()
    until = await connection.fetchval(
        "UPDATE t SET expires_at = clock_timestamp() + interval '1 hour', n = n + 1 "
        "WHERE id = $1 RETURNING expires_at",
        id_,
    )
    if number.random() < 0.3:
        await connection.execute("SELECT pg_sleep(0.02)")
    await transaction.commit()
    if until is not None:
        promised[id_] = until


async def lost_renewals(database: TestDatabase) -> int:
    """Renew sessions while sweeps run; return how many renewed sessions are gone."""
    await database.execute(SESSIONS)
    promised: dict[int, Any] = {}
    done = asyncio.Event()

    async def client(seed: int) -> None:
        connection, number = await database.connect(), random.Random(seed)
        while not done.is_set():
            await renew(connection, number, promised)

    clients = [asyncio.create_task(client(seed)) for seed in range(4)]
    for _ in range(12):
        await sweep(database.dsn, max_batch_rows=200, strategy="heap")
    done.set()
    await asyncio.gather(*clients)
    left = {row["id"] for row in await database.fetch("SELECT id FROM t")}
    return len(set(promised) - left)


async def test_no_renewed_session_is_ever_gone(database: TestDatabase) -> None:
    assert await lost_renewals(database) == 0


async def test_the_race_loses_rows_when_the_predicate_is_left_out(
    database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    def by_place_alone(self: TidRange, target: Any, args: Any) -> str:
        low, high = args.add(self.low, "tid"), args.add(self.high, "tid")
        return f'"t".ctid >= {low} AND "t".ctid < {high}'

    monkeypatch.setattr(TidRange, "narrow", by_place_alone)

    assert await lost_renewals(database) > 0


async def test_clients_that_lock_in_any_order_never_lose_a_deadlock(database: TestDatabase) -> None:
    await database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, expires_at timestamptz NOT NULL);"
        "INSERT INTO t SELECT g, now() - interval '1 hour' FROM generate_series(1, 3000) g"
    )
    victims = 0
    done = asyncio.Event()

    async def client(seed: int) -> None:
        nonlocal victims
        connection, number = await database.connect(), random.Random(seed)
        mine = list(range(seed, 3001, 4)) or [seed]
        while not done.is_set():
            ids = number.sample(mine, 8)
            try:
                async with connection.transaction():
                    for id_ in ids:
                        await connection.execute(
                            "INSERT INTO t VALUES ($1, now() - interval '1 hour') "
                            "ON CONFLICT (id) DO UPDATE SET expires_at = excluded.expires_at",
                            id_,
                        )
            except asyncpg.DeadlockDetectedError:
                victims += 1

    clients = [asyncio.create_task(client(seed)) for seed in range(1, 5)]
    for _ in range(10):
        await asyncio.gather(
            sweep(database.dsn, name="a", strategy="heap", max_batch_rows=500),
            sweep(database.dsn, name="b", strategy="heap", max_batch_rows=300),
        )
    done.set()
    await asyncio.gather(*clients)

    assert victims == 0


async def client_is_the_victim(database: TestDatabase) -> bool:
    """Deadlock a client with a slow batch: it waits first, so its check comes first."""
    await database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, expires_at timestamptz);"
        "INSERT INTO t SELECT g, now() - interval '1 hour' FROM generate_series(1, 3) g;"
        "CREATE FUNCTION slow() RETURNS trigger AS "
        "$$ BEGIN PERFORM pg_sleep(0.7); RETURN OLD; END $$ LANGUAGE plpgsql;"
        "CREATE TRIGGER slow BEFORE DELETE ON t FOR EACH ROW WHEN (OLD.id = 2) "
        "EXECUTE FUNCTION slow()"
    )
    client = await database.connect()
    transaction = client.transaction()
    await transaction.start()
    await client.execute("SELECT FROM t WHERE id = 3 FOR UPDATE")
    running = asyncio.create_task(sweep(database.dsn, timeout=timedelta(seconds=4)))
    try:
        while await database.fetch("SELECT FROM t WHERE id = 1 FOR UPDATE SKIP LOCKED"):
            pass
        await client.execute("UPDATE t SET expires_at = now() + interval '1 h' WHERE id = 1")
    except asyncpg.DeadlockDetectedError:
        return True
    finally:
        await transaction.rollback()
        await running
    return False


async def test_a_client_deadlocked_with_a_batch_goes_on(database: TestDatabase) -> None:
    assert not await client_is_the_victim(database)


async def test_without_the_bound_in_time_that_client_is_the_victim(
    database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = BatchLimits(Frame("sweeperd", 10_000, 10_000))
    monkeypatch.setattr(BatchLimits, "of", classmethod(lambda *_: patient))

    assert await client_is_the_victim(database)


async def test_rows_that_others_lock_are_skipped_counted_and_left_over(
    database: TestDatabase,
) -> None:
    await database.execute(
        "CREATE TABLE t AS SELECT g AS id, now() - interval '1 hour' AS expires_at "
        "FROM generate_series(1, 500) g"
    )
    holder = await database.connect()
    async with holder.transaction():
        await holder.execute("SELECT FROM t WHERE id IN (7, 400) FOR UPDATE")
        report = await sweep(database.dsn)

    assert (report.outcome, report.deleted_count, report.skipped_count) == ("incomplete", 498, 2)
    assert [(one.reason, one.rows) for one in report.remaining] == [("locked", 2)]
    assert report.left_over


async def test_a_lock_on_the_table_throttles_and_hurts_nobody(database: TestDatabase) -> None:
    await database.execute(
        "CREATE TABLE t AS SELECT g AS id, now() - interval '1 hour' AS expires_at "
        "FROM generate_series(1, 500) g"
    )
    holder = await database.connect()
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("LOCK TABLE t IN SHARE MODE")
    heard = Heard()
    running = asyncio.create_task(sweep(database.dsn, heard=heard))
    while not heard.of(SweepThrottled):
        await asyncio.sleep(0)
    await transaction.rollback()

    report = await running

    assert (report.outcome, report.deleted_count) == ("drained", 500)
    assert "is locked" in heard.of(SweepThrottled)[0].reason


async def test_two_sweeps_of_one_table_delete_each_row_once(database: TestDatabase) -> None:
    await database.execute(
        "CREATE TABLE t AS SELECT g AS id, now() - interval '1 hour' AS expires_at "
        "FROM generate_series(1, 20000) g"
    )

    one, two = await asyncio.gather(
        sweep(database.dsn, name="one", max_batch_rows=100),
        sweep(database.dsn, name="two", max_batch_rows=130),
    )

    assert one.deleted_count + two.deleted_count == 20000
    assert await database.fetchval("SELECT count(*) FROM t") == 0


async def test_another_instance_in_the_lane_makes_this_one_yield(database: TestDatabase) -> None:
    await database.execute(
        "CREATE TABLE t AS SELECT g AS id, now() - interval '1 hour' AS expires_at "
        "FROM generate_series(1, 20000) g"
    )

    reports = await asyncio.gather(*(sweep(database.dsn, max_batch_rows=50) for _ in range(3)))

    assert sum(report.deleted_count for report in reports) <= 20000
    outcomes = {report.outcome for report in reports}
    assert outcomes <= {"drained", "yielded"}
    assert "yielded" in outcomes


async def test_who_holds_the_lane_is_told_and_a_lost_connection_of_our_own_is_waited_for(
    database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.execute(
        "CREATE TABLE t AS SELECT g AS id, now() - interval '1 hour' AS expires_at "
        "FROM generate_series(1, 200) g; CREATE INDEX ON t (expires_at)"
    )
    oid = await database.fetchval("SELECT 't'::regclass::oid::int")
    holder = await database.connect()
    pid = holder.get_server_pid()
    await holder.execute("SET application_name = 'sweeperd:1:s'")
    transaction = holder.transaction()
    await transaction.start()
    key = fence_key(database.name, '"public"."t"', "s", f"{oid}:index")
    await holder.execute("SELECT pg_advisory_xact_lock($1)", key)

    report = await sweep(database.dsn, strategy="index")
    assert report.outcome == "yielded", report
    assert f"another instance sweeps here (session sweeperd:1:s, pid {pid}" in str(
        report.end_reason
    )

    class Ends(Heard):
        ending: asyncio.Task[None] | None = None

        def __call__(self, event: Event) -> None:
            super().__call__(event)
            if isinstance(event, SweepThrottled):
                self.ending = asyncio.ensure_future(transaction.rollback())

    real = Session.__init__

    def lost(session: Session, *given: Any) -> None:
        real(session, *given)
        session.lost_pids.add(pid)

    monkeypatch.setattr(Session, "__init__", lost)
    heard = Ends()
    report = await sweep(database.dsn, strategy="index", heard=heard)

    assert (report.outcome, report.deleted_count) == ("drained", 200), report
    assert "a lost connection of this run has not ended yet" in heard.of(SweepThrottled)[0].reason
