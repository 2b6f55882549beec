"""A table that is no longer the one surveyed: no batch on it is committed, and the run says why."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sweeperd.log.event import Event
from sweeperd.log.run_events import Waiting
from sweeperd.postgres.sql.partitions import Above
from sweeperd.postgres.sql.target import Table
from sweeperd.sweep.execute.partitions import Past, take_out
from sweeperd.sweep.outcome.report import RunEndError
from tests.conftest import TestDatabase
from tests.sweep.engine import Heard, sweep

ROWS = (
    "CREATE TABLE t (id int, expires_at timestamptz, state text);"
    "INSERT INTO t SELECT g, now() + (g - 2000.5) * interval '1 minute', 'x' "
    "FROM generate_series(1, 4000) g;"
)
LEAF = (
    "CREATE TABLE t (id int, expires_at timestamptz, state text) PARTITION BY LIST (id);"
    "CREATE TABLE t1 PARTITION OF t DEFAULT;"
) + ROWS.split(";", 1)[1]


class After(Heard):
    """Changes the table between two batches, as its owner might."""

    def __init__(self, database: TestDatabase, change: str) -> None:
        super().__init__()
        self._database, self._change = database, change
        self.changed: asyncio.Task[str] | None = None

    def __call__(self, event: Event) -> None:
        super().__call__(event)
        if isinstance(event, Waiting) and self.changed is None:
            self.changed = asyncio.ensure_future(self._database.execute(self._change))


@pytest.mark.every_server
@pytest.mark.parametrize(
    ("made", "change", "outcome", "said"),
    [
        (ROWS, "DROP TABLE t", "failed", "does not exist"),
        (ROWS, "DROP TABLE t;" + ROWS, "held", "made anew"),
        (ROWS, "ALTER TABLE t RENAME TO old;" + ROWS, "held", "made anew"),
        (ROWS, "ALTER TABLE t ALTER expires_at TYPE timestamp", "failed", "changed its type"),
        (ROWS, "ALTER TABLE t ALTER expires_at TYPE date", "failed", "changed its type"),
        (ROWS, "ALTER TABLE t DROP expires_at", "failed", "does not exist"),
        (LEAF, "ALTER TABLE t DETACH PARTITION t1", "throttled", "detached"),
        (
            LEAF,
            "DROP TABLE t1; CREATE TABLE t1 PARTITION OF t DEFAULT",
            "throttled",
            "the next run looks at it again",
        ),
    ],
)
async def test_a_table_changed_in_the_middle_of_a_run_loses_no_more_rows(
    database: TestDatabase, made: str, change: str, outcome: str, said: str
) -> None:
    await database.execute(made)
    heard = After(database, change)

    report = await sweep(database.dsn, heard=heard, max_batch_rows=300, rate_limit=600)

    assert heard.changed is not None
    await heard.changed
    assert (report.outcome, said in (report.end_reason or "")) == (outcome, True), report
    assert 0 < report.deleted_count < 2000
    if "DROP TABLE" not in change and "RENAME" not in change:
        table = "t1" if made == LEAF else "t"
        left = await database.fetchval(f"SELECT count(*) FROM {table}")
        assert left == 4000 - report.deleted_count
    elif made in change:
        assert await database.fetchval("SELECT count(*) FROM t") == 4000


@pytest.mark.parametrize(("where", "outcome"), [(None, "drained"), ("state = 'x'", "failed")])
async def test_other_columns_matter_to_the_operators_own_sql_alone(
    database: TestDatabase, where: str | None, outcome: str
) -> None:
    await database.execute(ROWS)
    heard = After(database, "ALTER TABLE t ADD more int; ALTER TABLE t ALTER state TYPE varchar")

    report = await sweep(database.dsn, heard=heard, max_batch_rows=900, rate_limit=900, where=where)

    assert report.outcome == outcome, report


async def test_a_column_that_an_archive_would_miss_ends_the_run(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(ROWS)
    heard = After(database, "ALTER TABLE t ADD note text DEFAULT 'kept'")

    report = await sweep(
        database.dsn,
        heard=heard,
        max_batch_rows=900,
        rate_limit=900,
        archive_to="file:a",
        archives=tmp_path,
    )

    assert (report.outcome, "the archive would miss" in (report.end_reason or "")) == (
        "throttled",
        True,
    ), report


OTHER = (
    "CREATE TABLE other (expires_at timestamptz) PARTITION BY RANGE (expires_at);"
    "ALTER TABLE t DETACH PARTITION p;"
)
BOUND = "FOR VALUES FROM ('2000-01-01') TO ('2001-01-01')"


@pytest.mark.every_server
@pytest.mark.parametrize(
    "change",
    [
        "DROP TABLE p;"
        "CREATE TABLE p PARTITION OF t FOR VALUES FROM ('2000-01-01') TO ('2099-01-01')",
        OTHER + f"ALTER TABLE other ATTACH PARTITION p {BOUND}",
        OTHER + "CREATE TABLE kept (expires_at timestamptz, made timestamptz) PARTITION BY RANGE "
        f"(made); ALTER TABLE p ADD made timestamptz; ALTER TABLE kept ATTACH PARTITION p {BOUND}",
    ],
)
async def test_a_partition_that_is_another_one_since_it_was_found_past_is_not_dropped(
    database: TestDatabase, change: str
) -> None:
    await database.execute(
        "CREATE TABLE t (expires_at timestamptz) PARTITION BY RANGE (expires_at);"
        f"CREATE TABLE p PARTITION OF t {BOUND}"
    )
    oids = await database.fetch("SELECT 'p'::regclass::oid AS p, 't'::regclass::oid AS t")
    bound = await database.fetchval(
        "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE oid = 'p'::regclass"
    )
    leaf, root = oids[0]["p"], oids[0]["t"]
    above = Above(root, root, "expires_at")
    past = Past(leaf, Table("public", "p"), Table("public", "t"), bound, owned=True, above=above)
    connection = await database.integer_times()
    async with connection.transaction():
        await take_out(connection, past, drop=False)
        await connection.execute(f"ALTER TABLE t ATTACH PARTITION p {BOUND}")
    await database.execute(change)

    with pytest.raises(RunEndError, match="made anew"):
        async with connection.transaction():
            await take_out(connection, past, drop=True)
    assert await database.fetchval("SELECT to_regclass('p') IS NOT NULL")


@pytest.mark.every_server
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("ALTER TABLE t RENAME expires_at TO x; ALTER TABLE t RENAME made TO expires_at", "column"),
        (
            OTHER + "ALTER TABLE other ADD id int; ALTER TABLE other ADD made timestamptz;"
            "ALTER TABLE other ATTACH PARTITION p DEFAULT",
            "attached or detached",
        ),
        (
            "TRUNCATE t; INSERT INTO t SELECT now() - interval '1 h', g, now() FROM "
            "generate_series(1, 4000) g",
            "rewritten",
        ),
        ("ALTER TABLE t ADD u uuid DEFAULT gen_random_uuid()", "rewritten"),
    ],
    ids=["swapped", "moved", "truncated", "rewritten"],
)
async def test_a_partition_changed_in_the_middle_of_a_run_loses_no_more_rows(
    database: TestDatabase, change: str, said: str
) -> None:
    await database.execute(
        "CREATE TABLE t (expires_at timestamptz, id int, made timestamptz) "
        "PARTITION BY RANGE (expires_at); CREATE TABLE p PARTITION OF t DEFAULT;"
        "INSERT INTO t SELECT now() + (g - 2000.5) * interval '1 minute', g, now() "
        "FROM generate_series(1, 4000) g"
    )
    heard = After(database, change)

    report = await sweep(database.dsn, heard=heard, max_batch_rows=300, rate_limit=600)

    assert heard.changed is not None
    await heard.changed
    if said == "rewritten":  # the leaf starts again in its new file
        assert report.outcome == "drained", report
        live = "SELECT count(*) FILTER (WHERE expires_at > $1), count(*) FROM p"
        left = tuple((await database.fetch(live, report.cutoff_time))[0])
        assert left == ((0, 0) if "TRUNCATE" in change else (2000, 2000))
    else:
        assert report.outcome in {"throttled", "failed"}, report
        assert said in str(report.end_reason)
        assert await database.fetchval("SELECT count(*) FROM p") == 4000 - report.deleted_count
