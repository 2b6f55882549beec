"""Inheritance children, TimescaleDB's tables and foreign partitions: refused or left out."""

from __future__ import annotations

import pytest

from tests.conftest import TestDatabase
from tests.sweep.engine import sweep
from tests.sweep.test_leaf_checks import (
    BY_ID,
    EXPIRED,
    FILL,
    FOREIGN,
    LEVELS,
    LIVE,
    PLAIN,
    counts,
    sweeper,
)

CATALOG = (
    "CREATE SCHEMA _timescaledb_catalog;"
    "CREATE TABLE _timescaledb_catalog.hypertable (id int, schema_name name, table_name name);"
    "INSERT INTO _timescaledb_catalog.hypertable VALUES (1, 'public', '{}');"
)
OPEN = (
    "GRANT USAGE ON SCHEMA _timescaledb_catalog TO public;"
    "GRANT SELECT ON _timescaledb_catalog.hypertable TO public;"
)


@pytest.mark.every_server
async def test_a_hypertable_without_chunks_is_known_from_the_catalogue_of_timescaledb(
    database: TestDatabase,
) -> None:
    await database.execute(PLAIN + CATALOG.format("t") + OPEN)
    role = await sweeper(database)

    report = await sweep(database.dsn_for(role))

    assert report.outcome == "failed"
    assert "public.t is a TimescaleDB hypertable" in str(report.error)
    assert "SELECT add_retention_policy('public.t'" in str(report.error)
    assert await counts(database) == (EXPIRED, LIVE)


@pytest.mark.parametrize("made", [CATALOG.format("other") + OPEN, CATALOG.format("t"), ""])
async def test_a_table_that_is_no_hypertable_is_swept(database: TestDatabase, made: str) -> None:
    # the second is a catalogue that this role may not read
    await database.execute(PLAIN + made)
    role = await sweeper(database)

    report = await sweep(database.dsn_for(role))

    assert (report.outcome, report.deleted_count) == ("drained", EXPIRED)


async def test_a_chunk_and_a_table_of_timescaledb_are_refused(database: TestDatabase) -> None:
    await database.execute(
        PLAIN + "CREATE SCHEMA _timescaledb_internal;"
        "CREATE TABLE _timescaledb_internal.chunk () INHERITS (t);"
        "CREATE TABLE _timescaledb_internal.own (expires_at timestamptz);"
    )
    role = await sweeper(database)
    await database.execute(
        f"GRANT USAGE ON SCHEMA _timescaledb_internal TO {role};"
        f"GRANT SELECT, DELETE ON ALL TABLES IN SCHEMA _timescaledb_internal TO {role}"
    )

    report = await sweep(database.dsn_for(role), table="_timescaledb_internal.chunk")
    assert "is a chunk of the TimescaleDB hypertable public.t" in str(report.error)
    report = await sweep(database.dsn_for(role), table="_timescaledb_internal.own")
    assert report.outcome == "failed"


async def test_a_strangers_catalogue_of_timescaledb_runs_nothing(database: TestDatabase) -> None:
    stranger = await database.role("stranger")
    await database.execute(
        PLAIN + f"CREATE SCHEMA _timescaledb_catalog AUTHORIZATION {stranger};"
        "CREATE TABLE _timescaledb_catalog.ran (who name);"
        f"ALTER TABLE _timescaledb_catalog.ran OWNER TO {stranger};"
        f"SET ROLE {stranger};"
        "CREATE FUNCTION _timescaledb_catalog.trap() RETURNS name LANGUAGE plpgsql AS $$ BEGIN"
        " RAISE EXCEPTION 'a trap'; END $$;"
        "CREATE VIEW _timescaledb_catalog.hypertable AS SELECT _timescaledb_catalog.trap() AS"
        " schema_name, _timescaledb_catalog.trap() AS table_name;"
        "GRANT ALL ON ALL TABLES IN SCHEMA _timescaledb_catalog TO public;"
        "GRANT USAGE ON SCHEMA _timescaledb_catalog TO public; RESET ROLE"
    )
    role = await sweeper(database)

    report = await sweep(database.dsn_for(role))
    assert (report.outcome, report.deleted_count) == ("drained", EXPIRED)
    await database.execute(f"DROP OWNED BY {stranger} CASCADE")


@pytest.mark.every_server
async def test_children_of_children_are_named_and_a_leaf_of_them_is_swept(
    database: TestDatabase,
) -> None:
    await database.execute(
        PLAIN
        + 'CREATE TABLE "Kid" () INHERITS (t); CREATE TABLE grandkid () INHERITS ("Kid");'
        + FILL.replace("INTO t ", "INTO grandkid ")
    )
    role = await sweeper(database)

    report = await sweep(database.dsn_for(role))
    assert """such as table = 'public."Kid"'""" in str(report.error)
    report = await sweep(database.dsn_for(role), table='public."Kid"')
    assert "public.grandkid" in str(report.error)
    report = await sweep(database.dsn_for(role), table="public.grandkid")
    assert (report.outcome, report.deleted_count) == ("drained", EXPIRED)
    assert await counts(database, "ONLY t") == (EXPIRED, LIVE)


async def test_only_foreign_partitions_are_refused(database: TestDatabase) -> None:
    await database.execute(BY_ID + FOREIGN + "DROP TABLE t1")
    role = await sweeper(database)

    report = await sweep(database.dsn_for(role))

    assert "every partition of public.t is a foreign table" in str(report.error)


@pytest.mark.parametrize("dry_run", [False, True])
async def test_a_foreign_partition_of_an_absent_server_is_not_asked(
    database: TestDatabase,
    dry_run: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    away = FOREIGN.replace("dbname 'nowhere'", "dbname 'nowhere', use_remote_estimate 'true'")
    await database.execute(BY_ID + away)
    role = await sweeper(database)
    await database.execute(f"GRANT USAGE ON FOREIGN SERVER far TO {role}")

    report = await sweep(database.dsn_for(role), dry_run=dry_run)

    assert report.outcome == "drained", report.error
    assert (report.expired_count if dry_run else report.deleted_count) == EXPIRED


@pytest.mark.every_server
async def test_the_cure_of_a_rule_runs_as_printed(database: TestDatabase) -> None:
    await database.execute(LEVELS + 'CREATE RULE "My Rule" AS ON DELETE TO t22 DO INSTEAD NOTHING')
    role = await sweeper(database)

    report = await sweep(database.dsn_for(role))
    error = str(report.error)
    await database.execute(error[error.index("DROP RULE") : error.index(", or sweep")])
    report = await sweep(database.dsn_for(role))

    assert (report.outcome, report.deleted_count) == ("drained", EXPIRED)
