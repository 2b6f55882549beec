"""An operator's text uses only what nobody but trusted roles may replace."""

from __future__ import annotations

import pytest

from tests.conftest import TestDatabase
from tests.sweep.engine import sweep

TABLE = (
    "CREATE TABLE t (id int PRIMARY KEY, expires_at timestamptz);"
    "INSERT INTO t SELECT g, now() + CASE WHEN g > 9 THEN 1 ELSE -1 END * interval '1 hour' "
    "FROM generate_series(1, 12) g;"
)
FUNCTION = (
    "CREATE FUNCTION {0}.odd(int) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT $1 % 2 = 1';"
)
OPERATOR = (
    FUNCTION + "CREATE FUNCTION {0}.odd(int, int) RETURNS boolean LANGUAGE sql AS 'SELECT true';"
    "CREATE OPERATOR {0}.=== (LEFTARG = int, RIGHTARG = int, FUNCTION = {0}.odd);"
)


async def prepared(database: TestDatabase) -> tuple[str, str]:
    """Return the sweeping role and a stranger."""
    role, stranger = await database.role("sweeper"), await database.role("stranger")
    await database.execute(
        TABLE + f"GRANT SELECT, UPDATE, DELETE ON t TO {role}; CREATE SCHEMA app;"
        f"GRANT USAGE ON SCHEMA app TO PUBLIC; GRANT USAGE ON SCHEMA public TO {stranger}"
    )
    return role, stranger


async def drop(database: TestDatabase, stranger: str) -> None:
    await database.execute(f"DROP OWNED BY {stranger} CASCADE")


@pytest.mark.every_server
@pytest.mark.parametrize("where", ["app.odd(id)", "odd(id)", "id OPERATOR(app.===) 1"])
async def test_functions_of_a_closed_schema_are_used(database: TestDatabase, where: str) -> None:
    role, _ = await prepared(database)
    await database.execute(
        OPERATOR.format("app") + f"ALTER ROLE {role} SET search_path = app, public"
    )

    report = await sweep(database.dsn_for(role), where=where)

    assert report.outcome == "drained", report.end_reason
    left = await database.fetchval("SELECT count(*) FROM t")
    assert left == (3 if "===" in where else 7)


@pytest.mark.every_server
@pytest.mark.parametrize("where", ["app.odd(id)", "id OPERATOR(app.===) 1", "odd(id)"])
async def test_a_schema_that_strangers_may_create_in_is_refused(
    database: TestDatabase, where: str
) -> None:
    role, stranger = await prepared(database)
    await database.execute(
        OPERATOR.format("app") + f"GRANT CREATE ON SCHEMA app TO {stranger};"
        f"ALTER ROLE {role} SET search_path = app, public"
    )

    report = await sweep(database.dsn_for(role), where=where)

    assert report.outcome == "failed"
    assert f"REVOKE CREATE ON SCHEMA app FROM {stranger}" in (report.end_reason or "")
    assert await database.fetchval("SELECT count(*) FROM t") == 12
    await database.execute(f"REVOKE CREATE ON SCHEMA app FROM {stranger}")
    assert (await sweep(database.dsn_for(role), where=where)).outcome == "drained"
    await drop(database, stranger)


async def test_a_function_that_a_stranger_owns_is_refused(database: TestDatabase) -> None:
    role, stranger = await prepared(database)
    await database.execute(
        FUNCTION.format("app") + f"GRANT CREATE ON SCHEMA app TO {stranger};"
        f"ALTER FUNCTION app.odd(int) OWNER TO {stranger};"
        f"REVOKE CREATE ON SCHEMA app FROM {stranger}"
    )

    report = await sweep(database.dsn_for(role), where="app.odd(id)")

    assert report.outcome == "failed"
    assert f"which {stranger} owns" in (report.end_reason or "")
    await drop(database, stranger)


async def test_a_view_that_a_stranger_owns_is_refused(database: TestDatabase) -> None:
    role, stranger = await prepared(database)
    await database.execute(
        f"GRANT CREATE ON SCHEMA app TO {stranger}; SET ROLE {stranger};"
        f"CREATE VIEW app.kept AS SELECT 1 AS id; GRANT SELECT ON app.kept TO PUBLIC; RESET ROLE"
    )

    report = await sweep(database.dsn_for(role), where="id NOT IN (SELECT id FROM app.kept)")

    assert report.outcome == "failed"
    assert f"which {stranger} owns" in (report.end_reason or "")
    await drop(database, stranger)


async def test_a_member_of_the_tables_owner_is_trusted(database: TestDatabase) -> None:
    role, member = await prepared(database)
    owner = await database.role("owner")
    await database.execute(
        FUNCTION.format("app") + f"ALTER TABLE t OWNER TO {owner}; GRANT {owner} TO {member};"
        f"GRANT CREATE ON SCHEMA app TO {member}; GRANT SELECT, UPDATE, DELETE ON t TO {role}"
    )

    report = await sweep(database.dsn_for(role), where="app.odd(id)")

    assert report.outcome == "drained", report.end_reason
    await database.execute(f"DROP OWNED BY {owner}, {member} CASCADE")
