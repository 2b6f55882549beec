"""`where`, `condition` and archives: other tables, holds that come meanwhile, rows kept once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from sweeperd.log.run_events import ConnectionLost
from tests.conftest import TestDatabase
from tests.sweep.engine import Heard, sweep
from tests.sweep.proxy import Proxy

ROWS = (
    "CREATE TABLE t (id int PRIMARY KEY, expires_at timestamptz, state text);"
    "INSERT INTO t SELECT g, now() + CASE WHEN g % 4 = 0 THEN 1 ELSE -1 END * interval '1 hour', "
    "CASE WHEN g % 2 = 0 THEN 'done' ELSE 'open' END FROM generate_series(1, 400) g;"
)
ODD_ARCHIVE = (
    "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, expires_at timestamptz, "
    "data bytea, tags text[], twice int GENERATED ALWAYS AS (7 * 2) STORED);"
    "INSERT INTO t (expires_at, data, tags) SELECT now() + CASE WHEN g % 4 = 0 THEN 1 ELSE -1 END "
    "* interval '1 hour', decode(md5(g::text), 'hex'), ARRAY[g::text, NULL] "
    "FROM generate_series(1, 400) g;"
    "CREATE TABLE a (sweep text, twice int, tags text[], data bytea, expires_at timestamptz, "
    "id int, archived_at timestamptz, correlation_id text) PARTITION BY HASH (id);"
    "CREATE TABLE a0 PARTITION OF a FOR VALUES WITH (MODULUS 2, REMAINDER 0);"
    "CREATE TABLE a1 PARTITION OF a FOR VALUES WITH (MODULUS 2, REMAINDER 1);"
    "CREATE TABLE before AS TABLE t"
)


async def left(database: TestDatabase) -> set[int]:
    return {row["id"] for row in await database.fetch("SELECT id FROM t")}


@pytest.mark.parametrize("strategy", ["heap", "index"])
async def test_a_where_narrows(database: TestDatabase, strategy: str) -> None:
    await database.execute(ROWS + "CREATE INDEX ON t (expires_at)")

    report = await sweep(database.dsn, where="state = 'done' OR id < 3", strategy=strategy)

    assert await left(database) == {n for n in range(1, 401) if n % 4 == 0 or (n % 2 and n > 2)}
    assert report.outcome == "drained"


@pytest.mark.parametrize("strategy", ["heap", "index"])
async def test_a_where_may_read_another_table(database: TestDatabase, strategy: str) -> None:
    await database.execute(
        ROWS + "CREATE INDEX ON t (expires_at); CREATE TABLE hold (id int); "
        "INSERT INTO hold VALUES (1), (2), (3)"
    )

    report = await sweep(
        database.dsn,
        where="NOT EXISTS (SELECT 1 FROM hold h WHERE h.id = t.id)",
        strategy=strategy,
        max_batch_rows=70,
    )

    assert await left(database) == {1, 2, 3} | {n for n in range(1, 401) if n % 4 == 0}
    assert report.outcome == "drained"


async def test_a_condition_stands_for_column_and_keep(database: TestDatabase) -> None:
    await database.execute(ROWS)

    report = await sweep(
        database.dsn,
        column=None,
        keep=None,
        condition="state = 'done' AND expires_at < :cutoff - interval '10 minutes'",
    )

    assert await left(database) == {n for n in range(1, 401) if n % 4 == 0 or n % 2}
    assert (report.strategy, report.outcome) == ("heap", "drained")


async def test_a_hold_committed_while_the_batch_waits_is_seen(database: TestDatabase) -> None:
    """The row is locked first; only then is the other table looked at again."""
    await database.execute(ROWS + "CREATE TABLE hold (id int)")
    holder = await database.connect()
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("UPDATE t SET state = 'wanted' WHERE id = 5")
    await holder.execute("INSERT INTO hold VALUES (5)")
    running = asyncio.create_task(
        sweep(database.dsn, where="id NOT IN (SELECT id FROM hold)", strategy="heap")
    )
    while await database.fetchval("SELECT count(*) FROM t WHERE id % 4 <> 0") > 1:
        assert not running.done()
    await transaction.commit()
    await running

    assert 5 in await left(database)


async def test_archived_rows_are_kept_once_with_their_stamps(database: TestDatabase) -> None:
    await database.execute(ODD_ARCHIVE)

    report = await sweep(database.dsn, archive_to="public.a", max_batch_rows=90)

    assert (report.outcome, report.deleted_count) == ("drained", 300)
    columns = "id, expires_at, data, tags, twice"
    differ = await database.fetchval(
        f"SELECT count(*) FROM (SELECT {columns} FROM before EXCEPT ALL "
        f"(SELECT {columns} FROM t UNION ALL SELECT {columns} FROM a)) AS d"
    )
    assert differ == 0
    stamps = await database.fetch("SELECT DISTINCT sweep, correlation_id, archived_at FROM a")
    assert [(row["sweep"], row["correlation_id"]) for row in stamps] == [("s", "00000000-test")]
    assert stamps[0]["archived_at"] == report.cutoff_time


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_connection_cut_at_every_message_archives_each_row_once(
    database: TestDatabase, *, after: bool
) -> None:
    socket = Path(database.server.directory) / f".s.PGSQL.{database.server.port}"
    keys: dict[str, Any] = {"archive_to": "a", "max_batch_rows": 120, "strategy": "heap"}
    made = "DROP TABLE IF EXISTS t, a;" + ROWS + "CREATE TABLE a (LIKE t)"
    await database.execute(made)
    async with Proxy(socket) as whole:
        await sweep(whole.dsn(database.name), **keys)
    heard = Heard()
    for step in range(20, whole.seen + 1):
        await database.execute(made)
        async with Proxy(socket, step, after) as proxy:
            report = await sweep(proxy.dsn(database.name), heard=heard, **keys)
        kept = [row["id"] for row in await database.fetch("SELECT id FROM a")]
        assert len(kept) == len(set(kept)), step
        assert len(kept) + len(await left(database)) == 400, step
        assert report.deleted_count == len(kept), step
    assert len(heard.of(ConnectionLost)) >= 9  # three batches of three messages


@pytest.mark.parametrize(
    ("archive", "said"),
    [
        ("CREATE TABLE a (id int, expires_at timestamptz)", "has no column state"),
        ("SELECT 1", "does not exist"),
        (
            "CREATE TABLE a (LIKE t); CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RETURN NULL; END $$; CREATE TRIGGER f BEFORE INSERT ON a FOR EACH ROW "
            "EXECUTE FUNCTION f()",
            "kept 0 of",
        ),
    ],
)
async def test_an_archive_that_would_lose_rows_stops_the_sweep(
    database: TestDatabase, archive: str, said: str
) -> None:
    await database.execute(ROWS + archive)

    report = await sweep(database.dsn, archive_to="a")

    assert report.outcome == "failed"
    assert said in (report.error or "")
    assert len(await left(database)) == 400
