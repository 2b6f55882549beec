"""`check` warns of a role that may do more than sweeping needs, with one that would do."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import configured, sweep_table, sweeperd
from tests.conftest import TestDatabase
from tests.sweep.engine import sweep
from tests.sweep.test_leaf_checks import EXPIRED, LEVELS, LIVE, PLAIN, counts, sweeper

MANY = LEVELS + "".join(
    f"CREATE TABLE m{n} PARTITION OF t FOR VALUES FROM ({n}000) TO ({n + 1}000);"
    for n in range(1, 6)
)


async def warned(database: TestDatabase, directory: Path, role: str, *tables: str) -> list[str]:
    """Return the warnings of `check` on the database; there is at most one on the role."""
    option = configured(
        directory, database, *(tables or (sweep_table(),)), dsn=database.dsn_for(role)
    )
    lines = json.loads((await sweeperd("check", "--json", option)).out)
    return [one["text"] for one in lines if one["text"].startswith("role ")]


@pytest.mark.every_server
@pytest.mark.parametrize(
    ("rights", "said"),
    [
        ("ALTER ROLE {} SUPERUSER", "is a superuser:"),
        ("ALTER ROLE {} BYPASSRLS", "has BYPASSRLS:"),
        ("ALTER ROLE {} CREATEROLE REPLICATION", "has CREATEROLE, has REPLICATION:"),
        ("ALTER TABLE t OWNER TO {}", "owns public.t:"),
        ("GRANT pg_write_all_data TO {}", "is a member of pg_write_all_data:"),
        ("GRANT pg_execute_server_program TO {}", "is a member of pg_execute_server_program:"),
        ("GRANT postgres TO {}; ALTER ROLE {} NOINHERIT", "is a member of postgres"),
        ("ALTER DATABASE {db} OWNER TO {}", "owns the database "),
    ],
)
async def test_rights_beyond_sweeping_are_a_warning(
    database: TestDatabase, tmp_path: Path, rights: str, said: str
) -> None:
    await database.execute(PLAIN)
    role = await sweeper(database)
    assert await warned(database, tmp_path, role) == []

    await database.execute(rights.replace("{db}", database.name).replace("{}", role))
    [text] = await warned(database, tmp_path, role)

    assert f"role {role} " in text
    assert said in text
    assert "GRANT SELECT, UPDATE, DELETE ON public.t TO sweeperd" in text
    await database.execute(
        f"ALTER DATABASE {database.name} OWNER TO postgres; REASSIGN OWNED BY {role} TO postgres"
    )


@pytest.mark.every_server
@pytest.mark.parametrize("table", [PLAIN, LEVELS, MANY])
async def test_the_role_that_would_do_is_made_by_the_printed_sql_and_sweeps(
    database: TestDatabase, tmp_path: Path, table: str
) -> None:
    await database.execute(table + "CREATE INDEX ON t (expires_at)")
    await database.execute("CREATE TABLE old (LIKE t)")
    [text] = await warned(database, tmp_path, "postgres", sweep_table(archive_to="public.old"))
    made = text[text.index("CREATE ROLE") :]
    name = re.match(r"CREATE ROLE (\w+)", made)
    assert name is not None
    try:
        await database.execute(made)
        assert await warned(database, tmp_path, name[1]) == []
        report = await sweep(database.dsn_for(name[1]), archive_to="public.old")
        assert (report.outcome, report.deleted_count) == ("drained", EXPIRED), report
        assert await counts(database) == (0, LIVE)
    finally:
        await database.execute(f"DROP OWNED BY {name[1]}; DROP ROLE {name[1]}")


async def test_a_name_that_is_taken_is_not_proposed(database: TestDatabase, tmp_path: Path) -> None:
    await database.execute(PLAIN + "CREATE ROLE sweeperd")
    try:
        [text] = await warned(database, tmp_path, "postgres")
        assert "CREATE ROLE sweeperd_2 LOGIN;" in text
    finally:
        await database.execute("DROP ROLE sweeperd")


async def test_bypassrls_is_needed_for_a_table_with_row_security(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(LEVELS + "ALTER TABLE t21 ENABLE ROW LEVEL SECURITY")
    role = await sweeper(database)
    await database.execute(f"ALTER ROLE {role} BYPASSRLS")
    assert await warned(database, tmp_path, role) == []

    [text] = await warned(database, tmp_path, "postgres")
    assert "CREATE ROLE sweeperd LOGIN BYPASSRLS;" in text


@pytest.mark.parametrize("keys", [{"partitions": "drop"}, {"vacuum": "auto"}])
async def test_an_owner_is_needed_for_partitions_and_vacuum(
    database: TestDatabase, tmp_path: Path, keys: dict[str, str]
) -> None:
    await database.execute(
        LEVELS + PLAIN.replace("TABLE t ", "TABLE u ").replace("INTO t ", "INTO u ")
    )
    role = await sweeper(database)
    owned = "".join(
        f"ALTER TABLE {name} OWNER TO {role};" for name in ("t", "t1", "t2", "t21", "t22")
    )
    await database.execute(owned)
    needing = sweep_table(**keys)
    other = sweep_table("other", table="public.u")

    assert await warned(database, tmp_path, role, needing, other) == []
    await database.execute(f"ALTER TABLE u OWNER TO {role}")
    [text] = await warned(database, tmp_path, role, needing, other)
    assert "owns public.u:" in text
    await database.execute(f"REASSIGN OWNED BY {role} TO postgres")


@pytest.mark.every_server
@pytest.mark.parametrize("table", [PLAIN, LEVELS, MANY])
async def test_the_role_that_check_grants_prints_sweeps_with_an_archive_and_a_where(
    database: TestDatabase, tmp_path: Path, table: str
) -> None:
    await database.execute(
        table
        + "CREATE SCHEMA a; CREATE TABLE a.old (LIKE t);"
        + "CREATE SCHEMA b; CREATE TABLE b.keep (id int);"
        + f"REVOKE CONNECT ON DATABASE {database.name} FROM PUBLIC"
    )
    keys: dict[str, Any] = {
        "archive_to": "a.old",
        "where": "NOT EXISTS (SELECT FROM b.keep k WHERE k.id = t.id)",
    }
    option = configured(tmp_path, database, sweep_table(**keys))
    printed = await sweeperd("check", "--grants", option)
    assert printed.code == 0, printed.err
    name = re.search(r"CREATE ROLE (\w+)", printed.out)
    assert name is not None
    try:
        await database.execute(printed.out)
        assert await warned(database, tmp_path, name[1], sweep_table(**keys)) == []
        option = configured(tmp_path, database, sweep_table(**keys), dsn=database.dsn_for(name[1]))
        checked = await sweeperd("check", "--json", option)
        lines = [line["text"] for line in json.loads(checked.out)]
        assert not any("not guarded" in text or "privilege" in text for text in lines), lines
        report = await sweep(database.dsn_for(name[1]), **keys)
        assert (report.outcome, report.deleted_count) == ("drained", EXPIRED), report
        assert await database.fetchval("SELECT count(*) FROM a.old") == EXPIRED
    finally:
        await database.execute(f"DROP OWNED BY {name[1]}; DROP ROLE {name[1]}")


@pytest.mark.every_server
async def test_the_role_that_check_grants_prints_drops_partitions_and_vacuums(
    database: TestDatabase, tmp_path: Path
) -> None:
    owner = await database.role("owner")
    await database.execute(
        "CREATE TABLE t (id int, expires_at timestamptz) PARTITION BY RANGE (expires_at);"
        "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM ('2020-01-01') TO ('2020-02-01');"
        "CREATE TABLE t2 PARTITION OF t FOR VALUES FROM ('2020-02-01') TO ('2999-01-01');"
        "INSERT INTO t VALUES (1, '2020-01-03'), (2, '2020-02-03'), (3, '2998-01-01');"
        + "".join(f"ALTER TABLE {one} OWNER TO {owner};" for one in ("t", "t1", "t2"))
    )
    await database.execute(f"GRANT USAGE, CREATE ON SCHEMA public TO {owner}")
    option = configured(tmp_path, database, sweep_table(partitions="drop", vacuum="auto"))
    printed = await sweeperd("check", "--grants", option)
    assert printed.code == 0, printed.err
    name = re.search(r"CREATE ROLE (\w+)", printed.out)
    assert name is not None
    try:
        await database.execute(printed.out)
        report = await sweep(database.dsn_for(name[1]), partitions="drop", vacuum="auto")
        assert report.outcome == "drained", report
        assert await database.fetchval("SELECT count(*) FROM t") == 1
        assert await database.fetchval("SELECT to_regclass('t1') IS NULL")
    finally:
        await database.execute(f"DROP OWNED BY {name[1]}; DROP ROLE {name[1]}")
        await database.execute(f"REASSIGN OWNED BY {owner} TO postgres; DROP OWNED BY {owner}")
