"""A delete that cascades back into the swept table would take its live rows: it is refused."""

from __future__ import annotations

import asyncio

import pytest

from sweeperd.log.event import Event
from sweeperd.log.run_events import BatchCommitted
from tests.conftest import TestDatabase
from tests.sweep.engine import Heard, sweep
from tests.sweep.test_leaf_checks import EXPIRED, LEVELS, LIVE, PLAIN, counts, sweeper

SELF = "ALTER TABLE t ADD CONSTRAINT k FOREIGN KEY (parent) REFERENCES t ON DELETE CASCADE;"
CYCLE_OF_TWELVE = "".join(
    f"CREATE TABLE c{n} (id int PRIMARY KEY, up int REFERENCES {f'c{n - 1}' if n else 't'} "
    "ON DELETE CASCADE);"
    for n in range(12)
) + (
    "ALTER TABLE t ADD CONSTRAINT k FOREIGN KEY (parent) REFERENCES c11 ON DELETE CASCADE;"
    "INSERT INTO c0 VALUES (1, 1);"
    + "".join(f"INSERT INTO c{n} VALUES (1, 1);" for n in range(1, 12))
    + "UPDATE t SET parent = 1 WHERE id > 90"
)


def cure_of(error: str | None) -> str:
    return str(error)[str(error).index("ALTER TABLE") :]


@pytest.mark.every_server
@pytest.mark.parametrize(
    ("table", "made"),
    [
        (PLAIN, CYCLE_OF_TWELVE),
        (LEVELS, CYCLE_OF_TWELVE),
        (LEVELS, SELF + "UPDATE t SET parent = 1 WHERE id > 90"),
    ],
)
async def test_the_cure_of_a_cascade_back_runs_as_printed(
    database: TestDatabase, table: str, made: str
) -> None:
    await database.execute(table + made)
    role = await sweeper(database)

    report = await sweep(database.dsn_for(role))
    assert report.outcome == "failed"
    assert "would also delete rows that are not expired" in str(report.error)
    assert await counts(database) == (EXPIRED, LIVE)

    await database.execute(cure_of(report.error))
    await database.execute("UPDATE t SET parent = NULL")
    report = await sweep(database.dsn_for(role))
    assert report.outcome == "drained", report.error
    assert await counts(database) == (0, LIVE)


@pytest.mark.every_server
@pytest.mark.parametrize(
    "key",
    [
        "ALTER TABLE t22 ADD FOREIGN KEY (parent) REFERENCES t1 ON DELETE CASCADE",
        "ALTER TABLE t ADD FOREIGN KEY (parent) REFERENCES t ON DELETE CASCADE",
    ],
)
async def test_a_partition_swept_by_its_name_keeps_live_rows_of_its_siblings(
    database: TestDatabase, key: str
) -> None:
    await database.execute(LEVELS + key + ";UPDATE t SET parent = 1 WHERE id > 90")
    role = await sweeper(database)

    report = await sweep(database.dsn_for(role), table="public.t1")

    assert report.outcome == "failed"
    assert "leads back" in str(report.error)
    assert await counts(database) == (EXPIRED, LIVE)


async def test_a_cascade_of_two_columns_to_quoted_names_is_refused_with_its_cure(
    database: TestDatabase,
) -> None:
    await database.execute(
        'CREATE TABLE "T t" (id int, "No" int, up int, "upNo" int, expires_at timestamptz,'
        ' PRIMARY KEY (id, "No"),'
        ' CONSTRAINT "My Key" FOREIGN KEY (up, "upNo") REFERENCES "T t"'
        " ON UPDATE CASCADE ON DELETE CASCADE DEFERRABLE);"
        """INSERT INTO "T t" VALUES (1, 1, NULL, NULL, now() - interval '1 h'),"""
        """ (2, 2, 1, 1, now() + interval '1 h')"""
    )
    role = await database.role()
    await database.execute(f'GRANT SELECT, DELETE ON "T t" TO {role}')  # rows cannot be locked

    report = await sweep(database.dsn_for(role), table='public."T t"')

    assert 'foreign key "My Key" of public."T t"' in str(report.error)
    assert await counts(database, '"T t"') == (1, 1)
    await database.execute(cure_of(report.error))
    report = await sweep(database.dsn_for(role), table='public."T t"')
    assert "ON DELETE CASCADE" not in str(report.error)
    assert await counts(database, '"T t"') == (1, 1)


async def test_many_partitions_on_both_sides_of_a_cycle_are_looked_at_in_time(
    database: TestDatabase,
) -> None:
    await database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, parent int, expires_at timestamptz)"
        " PARTITION BY HASH (id);"
        "CREATE TABLE b (id int PRIMARY KEY, t int REFERENCES t ON DELETE CASCADE)"
        " PARTITION BY HASH (id);"
        "CREATE TABLE c (id int PRIMARY KEY, b int REFERENCES b ON DELETE CASCADE)"
        " PARTITION BY HASH (id);"
        + "".join(
            f"CREATE TABLE {name}_{n} PARTITION OF {name} FOR VALUES WITH"
            f" (MODULUS 40, REMAINDER {n});"
            for name in "tbc"
            for n in range(40)
        )
    )
    role = await sweeper(database)

    assert (await sweep(database.dsn_for(role))).outcome == "drained"

    await database.execute(
        "ALTER TABLE t ADD CONSTRAINT back FOREIGN KEY (parent) REFERENCES c ON DELETE CASCADE"
    )
    report = await sweep(database.dsn_for(role))
    assert "then back of public.t leads back to public.t" in str(report.error)


@pytest.mark.every_server
async def test_a_cascade_that_is_disabled_is_no_obstacle(database: TestDatabase) -> None:
    await database.execute(PLAIN + SELF + "ALTER TABLE t DISABLE TRIGGER ALL")
    role = await sweeper(database)

    report = await sweep(database.dsn_for(role))

    assert (report.outcome, report.deleted_count) == ("drained", EXPIRED)


async def test_a_cascade_that_is_not_enforced_is_no_obstacle(database: TestDatabase) -> None:
    await database.execute(PLAIN + SELF.replace(";", " NOT ENFORCED;"))
    role = await sweeper(database)

    report = await sweep(database.dsn_for(role))

    assert (report.outcome, report.deleted_count) == ("drained", EXPIRED)


@pytest.mark.every_server
@pytest.mark.parametrize("table", [PLAIN, LEVELS])
@pytest.mark.parametrize("made", [SELF, "CREATE RULE r AS ON DELETE TO {} DO INSTEAD NOTHING"])
async def test_a_cascade_or_rule_made_during_a_run_meets_no_batch(
    database: TestDatabase, table: str, made: str
) -> None:
    await database.execute(table + "UPDATE t SET parent = 40 WHERE id > 90")
    role = await sweeper(database)
    admin = await database.connect()
    first = asyncio.Event()

    class Hearing(Heard):
        def __call__(self, event: Event) -> None:
            super().__call__(event)
            if isinstance(event, BatchCommitted) and event.rows:
                first.set()

    run = asyncio.ensure_future(
        sweep(database.dsn_for(role), heard=Hearing(), max_batch_rows=5, rate_limit=10)
    )
    async with asyncio.timeout(20):
        await first.wait()
        await admin.execute(made.format("t" if table == PLAIN else "t21"))
        report = await run

    assert report.outcome in {"throttled", "incomplete"}, report
    assert "while the run was under way" in str(report.end_reason)
    assert (await counts(database))[1] == LIVE
    report = await sweep(database.dsn_for(role), memory=report.memory)
    assert report.outcome == ("drained" if (table, made) == (PLAIN, SELF) else "failed")
