"""Behind a pooler that gives each transaction another session: nothing leaks, nothing breaks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.conftest import TestDatabase
from tests.parts import need
from tests.sweep.bouncer import bouncer
from tests.sweep.engine import sweep

ROWS = (
    "CREATE TABLE t (id int PRIMARY KEY, expires_at timestamptz, state text DEFAULT 'x');"
    "INSERT INTO t SELECT g, now() + CASE WHEN g % 4 = 0 THEN 1 ELSE -1 END * interval '1 hour' "
    "FROM generate_series(1, 20000) g; CREATE INDEX ON t (expires_at); ANALYZE t;"
    "CREATE TABLE a (LIKE t); CREATE TABLE hold AS SELECT g AS id FROM generate_series(1, 9) g;"
)
SETTINGS = (
    "SELECT name, setting FROM pg_settings WHERE setting IS DISTINCT FROM reset_val "
    "AND name NOT IN ('client_encoding', 'in_hot_standby')"
)


@need("pgbouncer")
@pytest.mark.parametrize(
    "keys",
    [
        {"strategy": "heap", "workers": 3},
        {"strategy": "index"},
        {"where": "NOT EXISTS (SELECT 1 FROM hold h WHERE h.id = t.id)"},
        {"archive_to": "a"},
        {"archive_to": "file:a", "workers": 2, "strategy": "heap"},
        {"vacuum": "auto"},
    ],
    ids=str,
)
async def test_a_pooler_in_transaction_mode_changes_nothing(
    database: TestDatabase, tmp_path: Path, keys: dict[str, Any]
) -> None:
    await database.execute(ROWS)
    async with bouncer(database, size=2) as dsn:
        clients = [await asyncpg.connect(dsn, statement_cache_size=0) for _ in range(4)]
        before = [await client.fetch(SETTINGS) for client in clients]

        report = await sweep(dsn, max_batch_rows=900, archives=tmp_path, **keys)

        after = [await client.fetch(SETTINGS) for client in clients]
        for client in clients:
            await client.close()
    held = 7 if "where" in keys else 0  # of the nine, 4 and 8 live
    assert (report.outcome, report.deleted_count) == ("drained", 15_000 - held), report
    assert await database.fetchval("SELECT count(*) FROM t WHERE id % 4 = 0") == 5_000
    assert before == after
