"""What may look at other rows judges a row after it was locked, by a newer snapshot."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TestDatabase
from tests.sweep.engine import sweep
from tests.sweep.messages import MessageWire

ROWS = (
    "CREATE TABLE t (id int PRIMARY KEY, state text, expires_at timestamptz);"
    "INSERT INTO t SELECT g, 'x', now() - interval '1 hour' FROM generate_series(1, 50) g;"
    "CREATE TABLE hold (id int);"
    "CREATE FUNCTION is_held(t) RETURNS bool LANGUAGE sql IMMUTABLE AS "
    "$$ SELECT EXISTS (SELECT FROM hold h WHERE h.id = $1.id) $$;"
    "CREATE FUNCTION is_held(int) RETURNS bool LANGUAGE sql STABLE AS "
    "$$ SELECT EXISTS (SELECT FROM hold h WHERE h.id = $1) $$;"
    "CREATE OPERATOR !@# (FUNCTION = is_held, RIGHTARG = int);"
    "CREATE DOMAIN free AS int CHECK (NOT is_held(VALUE));"
    "CREATE VIEW held AS SELECT id FROM hold;"
)
POLICIES = (
    "ALTER TABLE t ENABLE ROW LEVEL SECURITY;"
    "CREATE POLICY p ON t USING (NOT EXISTS (SELECT FROM hold h WHERE h.id = t.id));"
    "GRANT SELECT ON hold, held TO {0}; GRANT SELECT, UPDATE, DELETE ON t TO {0}"
)
ELSEWHERE = [
    "id NOT IN (TABLE hold)",
    "id NOT IN (SELECT id FROM held)",
    "NOT t.is_held",
    "NOT is_held(t)",
    "NOT is_held(id)",
    "NOT !@# id",
    "query_to_xml('SELECT id FROM hold WHERE id = ' || id, false, true, '')::text !~ '<id>'",
]


async def takes_two_steps(database: TestDatabase, where: str) -> bool:
    socket = Path(database.server.directory) / f".s.PGSQL.{database.server.port}"
    async with MessageWire(socket) as wire:
        report = await sweep(wire.dsn(database.name), where=where)
    assert (report.outcome, report.deleted_count) == ("drained", 50), report.end_reason
    return any("'sweeperd.rows'" in message for message in wire.sent)


@pytest.mark.parametrize(
    "where",
    [
        "state = 'x'",
        "lower(state) = 'x' AND length(state) BETWEEN 1 AND 3",
        "state LIKE 'x%' OR id % 2 = 0",
        "coalesce(nullif(state, ''), 'y') IN ('x', 'y') AND id = ANY (ARRAY[id, 1])",
        "state ~ '^x' AND md5(state) > '0' AND expires_at < now()",
    ],
)
async def test_what_judges_the_row_alone_needs_one_step(database: TestDatabase, where: str) -> None:
    await database.execute(ROWS)

    assert not await takes_two_steps(database, where)


@pytest.mark.parametrize("where", [*ELSEWHERE, "id::free > 0", "random() < 2"])
async def test_what_may_look_at_other_rows_needs_two(database: TestDatabase, where: str) -> None:
    await database.execute(ROWS)

    assert await takes_two_steps(database, where)


@pytest.mark.every_server
@pytest.mark.parametrize("where", [*ELSEWHERE, None])
async def test_a_hold_that_is_committed_while_a_batch_waits_is_seen(
    database: TestDatabase, where: str | None
) -> None:
    """Without ``where`` a policy looks at the other table."""
    await database.execute(ROWS)
    role = await database.role()
    await database.execute(POLICIES.format(role))
    if where is not None:
        await database.execute("ALTER TABLE t DISABLE ROW LEVEL SECURITY")
    client = await database.connect()
    transaction = client.transaction()
    await transaction.start()
    await client.execute("UPDATE t SET state = 'wanted' WHERE id = 7")
    await client.execute("INSERT INTO hold VALUES (7)")
    options: dict[str, Any] = {"where": where} if where else {"row_security": "obey"}
    running = asyncio.create_task(sweep(database.dsn_for(role), strategy="heap", **options))
    while await database.fetchval("SELECT count(*) FROM t") > 1:
        assert not running.done(), running.result()
    await transaction.commit()
    await running

    assert [row["id"] for row in await database.fetch("SELECT id FROM t")] == [7]
