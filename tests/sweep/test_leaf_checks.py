"""Rules, row security, foreign tables, inheritance and cascades are looked at in each partition."""

from __future__ import annotations

import asyncio

import pytest

from sweeperd.log.event import Event
from sweeperd.log.run_events import BatchCommitted
from tests.conftest import TestDatabase
from tests.sweep.engine import Heard, sweep

EXPIRED, LIVE = 40, 60
FILL = (
    "INSERT INTO t (id, expires_at) SELECT n, now() + (n - 40.5) * interval '1 hour' "
    "FROM generate_series(1, 100) n;"
)
PLAIN = "CREATE TABLE t (id int PRIMARY KEY, parent int, expires_at timestamptz);" + FILL
# t1 and t21 are leaves, t2 a partitioned table between
LEVELS = (
    "CREATE TABLE t (id int PRIMARY KEY, parent int, expires_at timestamptz) "
    "PARTITION BY RANGE (id);"
    "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (20);"
    "CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (20) TO (1000) PARTITION BY RANGE (id);"
    "CREATE TABLE t21 PARTITION OF t2 FOR VALUES FROM (20) TO (60);"
    "CREATE TABLE t22 PARTITION OF t2 FOR VALUES FROM (60) TO (1000);" + FILL
)
ANSWER = "SELECT count(*) FILTER (WHERE expires_at < now()), count(*) FROM {}"


async def counts(database: TestDatabase, table: str = "t") -> tuple[int, int]:
    expired, total = (await database.fetch(ANSWER.format(table)))[0]
    return expired, total - expired


async def sweeper(database: TestDatabase) -> str:
    role = await database.role()
    await database.execute(f"GRANT SELECT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}")
    return role


@pytest.mark.every_server
@pytest.mark.parametrize(
    ("table", "keys"),
    [
        (LEVELS, "ALTER TABLE t ADD CONSTRAINT k FOREIGN KEY (parent) REFERENCES t {}"),
        (LEVELS, "ALTER TABLE t22 ADD CONSTRAINT k FOREIGN KEY (parent) REFERENCES t1 {}"),
        (LEVELS, "ALTER TABLE t1 ADD CONSTRAINT k FOREIGN KEY (parent) REFERENCES t2 {}"),
        (
            PLAIN,
            "CREATE TABLE b (id int PRIMARY KEY, t int REFERENCES t {0});"
            "ALTER TABLE t ADD CONSTRAINT k FOREIGN KEY (parent) REFERENCES b {0};"
            "INSERT INTO b VALUES (1, 1)",
        ),
        (
            LEVELS,
            "CREATE TABLE b (id int PRIMARY KEY, t int REFERENCES t {0}) PARTITION BY HASH (id);"
            "CREATE TABLE b1 PARTITION OF b FOR VALUES WITH (MODULUS 1, REMAINDER 0);"
            "CREATE TABLE c (id int PRIMARY KEY, b int REFERENCES b1 {0});"
            "ALTER TABLE t22 ADD CONSTRAINT k FOREIGN KEY (parent) REFERENCES c {0};"
            "INSERT INTO b VALUES (1, 1); INSERT INTO c VALUES (1, 1)",
        ),
    ],
)
@pytest.mark.parametrize("deferred", ["", "DEFERRABLE INITIALLY DEFERRED"])
async def test_a_cascade_that_leads_back_to_the_table_is_refused(
    database: TestDatabase, table: str, keys: str, deferred: str
) -> None:
    await database.execute(table)
    await database.execute(keys.format(f"ON DELETE CASCADE {deferred}"))
    await database.execute("UPDATE t SET parent = 1 WHERE id > 90")
    role = await sweeper(database)

    report = await sweep(database.dsn_for(role))

    assert report.outcome == "failed"
    assert report.error is not None
    assert "would also delete rows that are not expired" in report.error
    assert await counts(database) == (EXPIRED, LIVE)


@pytest.mark.every_server
@pytest.mark.parametrize("action", ["NO ACTION", "SET NULL", "SET DEFAULT"])
async def test_a_reference_to_itself_that_does_not_cascade_is_swept(
    database: TestDatabase, action: str
) -> None:
    await database.execute(PLAIN)
    await database.execute(
        f"ALTER TABLE t ADD FOREIGN KEY (parent) REFERENCES t ON DELETE {action}"
    )
    role = await sweeper(database)

    report = await sweep(database.dsn_for(role))

    assert (report.outcome, report.deleted_count) == ("drained", EXPIRED)


async def test_a_cascade_into_another_table_is_allowed(database: TestDatabase) -> None:
    await database.execute(
        PLAIN
        + "CREATE TABLE child (t int REFERENCES t ON DELETE CASCADE); CREATE INDEX ON child (t);"
        "INSERT INTO child SELECT n FROM generate_series(1, 100) n"
    )
    role = await sweeper(database)

    report = await sweep(database.dsn_for(role))

    assert (report.outcome, report.deleted_count) == ("drained", EXPIRED)
    assert await database.fetchval("SELECT count(*) FROM child") == LIVE


@pytest.mark.every_server
@pytest.mark.parametrize("table", ["t", "t1", "t2", "t22"])
@pytest.mark.parametrize("rule", ["DO INSTEAD NOTHING", "DO ALSO SELECT 1", "DO INSTEAD SELECT 2"])
async def test_a_rule_on_any_partition_is_refused(
    database: TestDatabase, table: str, rule: str
) -> None:
    await database.execute(LEVELS + f"CREATE RULE r AS ON DELETE TO {table} {rule}")
    role = await sweeper(database)

    report = await sweep(database.dsn_for(role))

    assert report.outcome == "failed"
    assert f"public.{table} has a rule ON DELETE" in str(report.error)
    assert await counts(database) == (EXPIRED, LIVE)


@pytest.mark.parametrize("state", ["DISABLE RULE r", "ENABLE REPLICA RULE r"])
async def test_a_rule_that_does_not_fire_is_no_obstacle(database: TestDatabase, state: str) -> None:
    await database.execute(
        LEVELS + f"CREATE RULE r AS ON DELETE TO t1 DO INSTEAD NOTHING; ALTER TABLE t1 {state}"
    )
    role = await sweeper(database)

    report = await sweep(database.dsn_for(role))

    assert (report.outcome, report.deleted_count) == ("drained", EXPIRED)


@pytest.mark.every_server
@pytest.mark.parametrize("table", ["t", "t1", "t21"])
async def test_row_security_of_any_swept_partition_is_refused(
    database: TestDatabase, table: str
) -> None:
    await database.execute(LEVELS + f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    await database.execute("CREATE INDEX ON t (expires_at)")
    role = await sweeper(database)

    report = await sweep(database.dsn_for(role))

    assert report.outcome == "failed"
    assert f"row security would hide rows of public.{table}" in str(report.error)
    assert 'row_security = "obey"' in str(report.error)
    assert await counts(database) == (EXPIRED, LIVE)


@pytest.mark.every_server
@pytest.mark.parametrize("table", ["t", "t1"])
async def test_obeyed_row_security_is_told_and_hidden_rows_stay(
    database: TestDatabase, table: str
) -> None:
    await database.execute(
        LEVELS + f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;"
        f"CREATE POLICY odd ON {table} USING (id % 2 = 1); CREATE INDEX ON t (expires_at)"
    )
    role = await sweeper(database)

    report = await sweep(database.dsn_for(role), row_security="obey")

    assert report.outcome == "drained"
    assert any("how many expired rows they hide is unknown" in one for one in report.warnings)
    hidden = await database.fetchval(
        f"SELECT count(*) FROM {table} WHERE expires_at < now() AND id % 2 = 0"
    )
    assert await counts(database) == (hidden, LIVE)


@pytest.mark.parametrize("what", ["BYPASSRLS", "SUPERUSER"])
async def test_a_role_that_row_security_does_not_bind_sweeps_all(
    database: TestDatabase, what: str
) -> None:
    await database.execute(PLAIN + "ALTER TABLE t ENABLE ROW LEVEL SECURITY")
    role = await sweeper(database)
    await database.execute(f"ALTER ROLE {role} {what}")

    report = await sweep(database.dsn_for(role))

    assert (report.outcome, report.deleted_count) == ("drained", EXPIRED)
    assert not report.warnings


@pytest.mark.every_server
async def test_row_security_enabled_between_two_runs_is_seen(database: TestDatabase) -> None:
    await database.execute(PLAIN)
    role = await sweeper(database)

    report = await sweep(database.dsn_for(role), max_batch_rows=10, max_rows=10)
    assert report.deleted_count == 10
    await database.execute("ALTER TABLE t ENABLE ROW LEVEL SECURITY")

    report = await sweep(database.dsn_for(role), memory=report.memory)

    assert report.outcome == "failed"
    assert await counts(database) == (EXPIRED - 10, LIVE)


async def test_row_security_enabled_during_a_run_ends_it(database: TestDatabase) -> None:
    await database.execute(PLAIN)
    role = await sweeper(database)
    admin = await database.connect()
    first = asyncio.Event()

    class Hearing(Heard):
        def __call__(self, event: Event) -> None:
            super().__call__(event)
            if isinstance(event, BatchCommitted):
                first.set()

    run = asyncio.ensure_future(
        sweep(database.dsn_for(role), heard=Hearing(), max_batch_rows=5, rate_limit=10)
    )
    async with asyncio.timeout(20):
        await first.wait()
        await admin.execute("ALTER TABLE t ENABLE ROW LEVEL SECURITY")
        report = await run

    assert report.outcome == "failed"
    assert "row-level security" in str(report.error)
    assert await counts(database) == (EXPIRED - report.deleted_count, LIVE)


async def test_row_security_of_a_table_that_where_reads_is_named(database: TestDatabase) -> None:
    await database.execute(
        PLAIN + "CREATE TABLE hold (id int); ALTER TABLE hold ENABLE ROW LEVEL SECURITY;"
        "INSERT INTO hold SELECT generate_series(1, 40)"
    )
    role = await sweeper(database)

    report = await sweep(
        database.dsn_for(role), where="NOT EXISTS (SELECT FROM public.hold h WHERE h.id = t.id)"
    )

    assert report.outcome == "failed"
    assert '"hold"' in str(report.error)
    assert 'row_security = "obey"' in str(report.error)
    assert await counts(database) == (EXPIRED, LIVE)


@pytest.mark.every_server
async def test_a_table_with_inheritance_children_is_refused(
    database: TestDatabase,
) -> None:
    await database.execute(PLAIN + "CREATE TABLE kid () INHERITS (t)")
    role = await sweeper(database)

    report = await sweep(database.dsn_for(role))

    assert report.outcome == "failed"
    assert "public.t has inheritance children (public.kid)" in str(report.error)
    assert await counts(database) == (EXPIRED, LIVE)


async def test_an_inheritance_child_is_swept_by_its_name(database: TestDatabase) -> None:
    await database.execute(
        "CREATE TABLE base (id int); CREATE TABLE t (expires_at timestamptz) INHERITS (base);"
        + FILL
    )
    role = await sweeper(database)

    report = await sweep(database.dsn_for(role))

    assert (report.outcome, report.deleted_count) == ("drained", EXPIRED)


@pytest.mark.parametrize(
    "made",
    [
        "CREATE SCHEMA _timescaledb_internal;"
        "CREATE TABLE _timescaledb_internal._hyper_1_1_chunk () INHERITS (t);",
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;"
        "CREATE TRIGGER ts_insert_blocker BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f();",
    ],
)
async def test_a_hypertable_is_refused_with_its_own_retention(
    database: TestDatabase, made: str
) -> None:
    await database.execute(PLAIN + made)
    role = await sweeper(database)

    report = await sweep(database.dsn_for(role))

    assert report.outcome == "failed"
    assert "SELECT add_retention_policy('public.t'" in str(report.error)
    assert await counts(database) == (EXPIRED, LIVE)


FOREIGN = (
    "CREATE EXTENSION postgres_fdw;"
    "CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS (dbname 'nowhere');"
    "CREATE FOREIGN TABLE t3 PARTITION OF t FOR VALUES FROM (1000) TO (2000) SERVER far;"
)
BY_ID = (
    "CREATE TABLE t (id int, expires_at timestamptz) PARTITION BY RANGE (id);"
    "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (1000);"
    "CREATE INDEX ON t1 (expires_at);" + FILL
)


async def test_a_foreign_partition_is_left_out_and_told(database: TestDatabase) -> None:
    await database.execute(BY_ID + FOREIGN)
    role = await sweeper(database)

    report = await sweep(database.dsn_for(role))

    assert (report.outcome, report.deleted_count) == ("drained", EXPIRED)
    assert "public.t3 is a foreign table and is not swept" in report.warnings


async def test_a_foreign_partition_is_refused_where_the_parent_is_swept(
    database: TestDatabase,
) -> None:
    await database.execute(BY_ID + FOREIGN)
    role = await sweeper(database)
    await database.execute(f"REVOKE DELETE ON t1 FROM {role}")

    report = await sweep(database.dsn_for(role))

    assert report.outcome == "failed"
    assert "would reach the foreign table public.t3" in str(report.error)
    assert await counts(database, "t1") == (EXPIRED, LIVE)
