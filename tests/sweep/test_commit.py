"""COMMIT: what it waits for, and what becomes of a batch whose answer is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import asyncpg
import pytest

from sweeperd.demo.server import Installation, Server
from sweeperd.log.events import SweepThrottled
from tests.sweep.engine import Heard, sweep

TABLE = (
    "CREATE TABLE other (id int);"
    "CREATE TABLE t (id int, expires_at timestamptz);"
    "INSERT INTO t SELECT g, now() - interval '1 hour' FROM generate_series(1, 500) g;"
    "CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN PERFORM pg_notify('gone', OLD.id::text); RETURN NULL; END $$;"
    "CREATE TRIGGER tell AFTER DELETE ON t FOR EACH ROW EXECUTE FUNCTION tell();"
)


@pytest.fixture
def waits_for_standbys() -> Iterator[Server]:
    """A server whose COMMIT waits for a standby that does not exist."""
    server = Server(
        Installation.find(),
        {"wal_level": "replica", "max_wal_senders": "1", "synchronous_standby_names": "nobody"},
    )
    server.create()
    server.start()
    yield server
    server.stop(immediate=True)
    server.remove()


async def test_a_trigger_that_notifies_waits_for_other_sessions_and_no_row_is_blamed(
    waits_for_standbys: Server,
) -> None:
    """A session whose COMMIT waits for a standby keeps the lock that NOTIFY needs."""
    dsn = waits_for_standbys.dsn()
    admin = await asyncpg.connect(dsn, server_settings={"synchronous_commit": "local"})
    client = await asyncpg.connect(dsn, server_settings={"synchronous_commit": "on"})
    await admin.execute(TABLE)
    heard = Heard()
    holding = asyncio.ensure_future(
        client.execute("BEGIN; INSERT INTO other VALUES (1); NOTIFY busy; COMMIT")
    )
    waiting = "SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    async with asyncio.timeout(30):
        while not await admin.fetch(waiting):
            pass
        running = asyncio.ensure_future(sweep(dsn, heard=heard))
        while not heard.of(SweepThrottled):
            await admin.fetch("SELECT")
            assert not running.done(), running.result()
        await admin.execute("SELECT pg_cancel_backend($1)", client.get_server_pid())
        with suppress(asyncpg.PostgresError):
            await holding
        report = await running
    for connection in (admin, client):
        await connection.close()

    assert (report.outcome, report.deleted_count, report.skipped_count) == ("drained", 500, 0)
    assert "NOTIFY" in str(heard.of(SweepThrottled))
