"""A client deadlocked with a batch never loses, whatever deadlock_timeout it has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta

import asyncpg
import pytest

from sweeperd.config.models import DatabaseConfig
from sweeperd.postgres import catalog
from sweeperd.postgres.catalog_reads import CatalogReads
from sweeperd.postgres.connect import Database
from sweeperd.postgres.time_setting import milliseconds
from sweeperd.postgres.transaction import reading
from sweeperd.sweep.execute.batch import BatchLimits
from tests.conftest import TestDatabase
from tests.sweep.engine import settings, sweep

# The batch holds row 1 when it stops at row 2, until it is let on; row 3 is the client's.
TABLE = (
    "CREATE TABLE t (id int PRIMARY KEY, expires_at timestamptz);"
    "INSERT INTO t SELECT g, now() - interval '1 hour' FROM generate_series(1, 3) g;"
    "CREATE FUNCTION slow() RETURNS trigger AS "
    "$$ BEGIN PERFORM pg_sleep({seconds}); RETURN OLD; END $$ LANGUAGE plpgsql;"
    "CREATE TRIGGER slow BEFORE DELETE ON t FOR EACH ROW WHEN (OLD.id = 2) "
    "EXECUTE FUNCTION slow()"
)


@pytest.fixture
async def role(database: TestDatabase) -> AsyncIterator[str]:
    """A role that sweeps, without any right on parameters."""
    name = await database.role("sweeper")
    yield name
    await database.execute(f"DROP OWNED BY {name}")


async def server_of(dsn: str) -> catalog.Server:
    database = Database(DatabaseConfig(name="app", dsn=dsn))
    async with database.connection() as connection, reading(connection):
        return await catalog.read_server(CatalogReads(connection))


async def set_server(database: TestDatabase, value: str | None) -> None:
    """Set deadlock_timeout for all sessions; wait until this one has it."""
    before = await database.fetchval("SELECT pg_conf_load_time()")
    await database.execute(
        f"ALTER SYSTEM SET deadlock_timeout = '{value}'"
        if value
        else "ALTER SYSTEM RESET deadlock_timeout"
    )
    await database.execute("SELECT pg_reload_conf()")
    async with asyncio.timeout(10):
        while await database.fetchval("SELECT pg_conf_load_time()") == before:
            pass


async def may(database: TestDatabase, role: str, *, grant: bool) -> None:
    await database.execute(f"GRANT SELECT, UPDATE, DELETE ON t TO {role}")
    if grant:
        await database.execute(f"GRANT SET ON PARAMETER deadlock_timeout TO {role}")


@pytest.mark.every_server
@pytest.mark.parametrize("first", ["client", "batch"])
@pytest.mark.parametrize("waits", ["1ms", "20ms", "1s", "1h", "20ms for one role"])
@pytest.mark.parametrize("grant", [True, False])
async def test_the_client_is_never_the_victim(
    database: TestDatabase, role: str, waits: str, first: str, *, grant: bool
) -> None:
    await database.execute(TABLE.format(seconds=0.3 if first == "client" else 0.001))
    await may(database, role, grant=grant)
    other = await database.role("client")
    await database.execute(f"GRANT SELECT, UPDATE ON t TO {other}")
    if waits.endswith("role"):
        await database.execute(f"ALTER ROLE {other} SET deadlock_timeout = '{waits[:4]}'")
    else:
        await set_server(database, waits)
    client = await asyncpg.connect(database.dsn_for(other))
    try:
        transaction = client.transaction()
        await transaction.start()
        await client.execute("SELECT FROM t WHERE id = 3 FOR UPDATE")
        running = asyncio.create_task(
            sweep(database.dsn_for(role), timeout=timedelta(seconds=3), strategy="heap")
        )
        # batch holds row 1, or is done with it
        with suppress(TimeoutError):
            async with asyncio.timeout(2):
                while await database.fetch("SELECT FROM t WHERE id = 1 FOR UPDATE SKIP LOCKED"):
                    pass
        await client.execute("UPDATE t SET expires_at = now() + interval '1 h' WHERE id = 1")
        await transaction.commit()  # raises where the client was the victim
        await running
    finally:
        await client.close()
        await set_server(database, None)
        await database.execute(f"DROP OWNED BY {other}")


@pytest.mark.every_server
async def test_rows_go_though_deadlock_timeout_is_a_millisecond(
    database: TestDatabase, role: str
) -> None:
    await database.execute(
        "CREATE TABLE t AS SELECT g AS id, now() - interval '1 hour' AS expires_at "
        "FROM generate_series(1, 5000) g"
    )
    await may(database, role, grant=False)
    await set_server(database, "1ms")
    try:
        holder = await database.connect()
        async with holder.transaction():
            await holder.execute("SELECT FROM t WHERE id = 7 FOR UPDATE")
            report = await sweep(database.dsn_for(role))
        assert (report.deleted_count, report.skipped_count) == (4999, 1), report
        await database.execute(f"REVOKE UPDATE ON t FROM {role}")
        refused = await sweep(database.dsn_for(role))
        assert "deadlock_timeout" in (refused.end_reason or "")
        assert refused.deleted_count == 0
    finally:
        await set_server(database, None)


@pytest.mark.every_server
async def test_the_shortest_deadlock_timeout_of_any_role_or_database_counts(
    database: TestDatabase, role: str
) -> None:
    assert (await server_of(database.dsn_for(role))).deadlock_seconds == 1.0
    other = await database.role("other")
    await database.execute(f"ALTER ROLE {other} SET deadlock_timeout = '300ms'")
    assert (await server_of(database.dsn_for(role))).deadlock_seconds == 0.3
    await database.execute(f"ALTER DATABASE {database.name} SET deadlock_timeout = '0.2 s'")
    assert (await server_of(database.dsn_for(role))).deadlock_seconds == 0.2
    # a role's own hides the server's
    await database.execute(f"ALTER DATABASE {database.name} RESET deadlock_timeout")
    await database.execute(f"ALTER ROLE {other} RESET deadlock_timeout")
    await database.execute(f"ALTER ROLE {role} SET deadlock_timeout = '1h'")
    assert (await server_of(database.dsn_for(role))).deadlock_seconds == 1.0


@pytest.mark.every_server
async def test_limits_follow_the_clients_and_the_grant(database: TestDatabase, role: str) -> None:
    await database.execute("CREATE TABLE t (id int, expires_at timestamptz)")
    await may(database, role, grant=False)
    server = await server_of(database.dsn_for(role))
    assert not server.may_set_deadlock_timeout
    limits = BatchLimits.of("s", settings(), server)
    assert limits.frame.deadlock_timeout_ms is None
    assert limits.frame.statement_timeout_ms < 500
    raised = BatchLimits.of("s", settings(max_statement=timedelta(seconds=20)), server)
    assert raised.statement_seconds == 20

    await may(database, role, grant=True)
    server = await server_of(database.dsn_for(role))
    assert server.may_set_deadlock_timeout
    limits = BatchLimits.of("s", settings(), server)
    assert (limits.frame.deadlock_timeout_ms, limits.statement_seconds) == (1, 1.0)
    assert limits.frame.lock_timeout_ms == 50


@pytest.mark.parametrize("text", ["20ms", "20", " 0.02 s", "20000us", "1min", "1h", "1d", "+7"])
async def test_a_setting_is_read_as_the_server_reads_it(database: TestDatabase, text: str) -> None:
    await database.execute(f"SET deadlock_timeout = '{text}'")
    read = "SELECT setting::float8 FROM pg_settings WHERE name = 'deadlock_timeout'"
    assert milliseconds(text) == await database.fetchval(read)


def test_a_setting_that_is_written_oddly_is_not_guessed() -> None:
    assert [milliseconds(text) for text in ("0x14", "010", "1e3", "", "20 MS")] == [None] * 5
