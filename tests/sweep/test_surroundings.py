"""What hangs on a table is told before it hurts, with the SQL that cures it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.command import configured, sweep_table, sweeperd
from tests.conftest import TestDatabase
from tests.sweep.engine import sweep

TABLE = (
    "CREATE TABLE t (id int PRIMARY KEY, expires_at timestamptz, flag bool DEFAULT true);"
    "INSERT INTO t SELECT g, now() + (g - 5.5) * interval '1 hour' FROM generate_series(1, 10) g;"
    "CREATE INDEX ON t (expires_at);"
)
LEAVES = (
    "CREATE TABLE t (id int, expires_at timestamptz) PARTITION BY LIST (id);"
    "CREATE TABLE t1 PARTITION OF t DEFAULT; CREATE INDEX ON t (expires_at);"
)
FUNCTION = (
    "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN OLD; END $$;"
    "CREATE TRIGGER audit {} DELETE ON t {} EXECUTE FUNCTION f();"
)


async def found(database: TestDatabase, directory: Path, **keys: str) -> tuple[int, str]:
    option = configured(directory, database, sweep_table(**keys))
    result = await sweeperd("check", "--json", option)
    lines = json.loads(result.out)
    return result.code, "\n".join(f"{line['level']}: {line['text']}" for line in lines)


@pytest.mark.every_server
@pytest.mark.parametrize(
    ("more", "said"),
    [
        (FUNCTION.format("AFTER", "FOR EACH ROW"), "trigger audit on public.t fires for each del"),
        (FUNCTION.format("AFTER", ""), "trigger audit on public.t fires for each statement"),
        (
            'CREATE TABLE "C" (t_id int REFERENCES t);',
            'CREATE INDEX CONCURRENTLY ON public."C" (t_id)',
        ),
        (
            "CREATE TABLE c (a int, t_id int REFERENCES t); CREATE INDEX ON c (a, t_id);",
            "CREATE INDEX CONCURRENTLY ON public.c (t_id)",
        ),
        (
            "CREATE TABLE c (t_id int REFERENCES t) PARTITION BY HASH (t_id);"
            "CREATE TABLE c0 PARTITION OF c FOR VALUES WITH (MODULUS 1, REMAINDER 0);",
            "CREATE INDEX ON public.c (t_id)",
        ),
        (
            "CREATE TABLE c AS SELECT g % 10 + 1 AS t_id FROM generate_series(1, 35) g;"
            "CREATE INDEX ON c (t_id); ALTER TABLE c ADD FOREIGN KEY (t_id) REFERENCES t "
            "ON DELETE CASCADE; ANALYZE c; ANALYZE t;",
            "cascades: about 3.5 rows go with each deleted row",
        ),
        (
            "CREATE TABLE c (id int PRIMARY KEY REFERENCES t ON DELETE CASCADE);"
            "CREATE TABLE d (c_id int REFERENCES c ON DELETE CASCADE);",
            "CREATE INDEX CONCURRENTLY ON public.d (c_id)",
        ),
        (
            "CREATE TABLE c (id int PRIMARY KEY REFERENCES t ON DELETE SET NULL);",
            "updates an unknown number of rows",
        ),
        (
            "CREATE TABLE c (id int PRIMARY KEY REFERENCES t DEFERRABLE INITIALLY DEFERRED);",
            "checked at COMMIT",
        ),
        ("CREATE TABLE c (id int PRIMARY KEY REFERENCES t);", 'with before = ["..."]'),
        (
            "ALTER TABLE t ADD made timestamptz GENERATED ALWAYS AS (expires_at) STORED;",
            "generated column",
        ),
    ],
)
async def test_a_warning_with_its_cure(
    database: TestDatabase, tmp_path: Path, more: str, said: str
) -> None:
    await database.execute(TABLE + more)
    column = "made" if "made" in more else "expires_at"

    code, text = await found(database, tmp_path, column=column)
    report = await sweep(database.dsn, column=column)

    assert code == 0, text
    assert said in text
    assert said in "\n".join(report.warnings)
    assert report.outcome == "drained", report


async def test_a_plain_table_is_not_warned_about(database: TestDatabase, tmp_path: Path) -> None:
    await database.execute(
        TABLE + "CREATE TABLE other (id int PRIMARY KEY); ALTER TABLE t ADD o int REFERENCES other"
    )

    code, text = await found(database, tmp_path, where="flag")

    warnings = [line for line in text.splitlines() if line.startswith("warning")]
    # the tests' own role is a superuser
    assert (code, [line[:25] for line in warnings]) == (0, ["warning: role postgres is"]), text


@pytest.mark.every_server
@pytest.mark.parametrize(
    ("made", "publication"),
    [
        ("CREATE TABLE t (expires_at timestamptz);", "FOR TABLE t"),
        ("CREATE TABLE t (expires_at timestamptz);", "FOR ALL TABLES"),
        (TABLE + "ALTER TABLE t REPLICA IDENTITY NOTHING;", "FOR TABLE t"),
        (LEAVES, "FOR TABLE t"),
        (LEAVES, "FOR TABLE t WITH (publish_via_partition_root)"),
    ],
)
async def test_deletes_that_a_publication_would_refuse_stop_the_sweep(
    database: TestDatabase, tmp_path: Path, made: str, publication: str
) -> None:
    await database.execute(
        f"{made} INSERT INTO t (expires_at{', id' if 'id int' in made else ''}) "
        f"VALUES (now() - interval '1 hour'{', 99' if 'id int' in made else ''});"
        f"CREATE PUBLICATION p {publication}"
    )

    code, text = await found(database, tmp_path)
    report = await sweep(database.dsn)

    assert code == 1
    assert "REPLICA IDENTITY FULL" in text
    assert "replica identity" in (report.error or "")
    leaf = "t1" if made == LEAVES else "t"
    await database.execute(f"ALTER TABLE {leaf} REPLICA IDENTITY FULL")
    assert (await sweep(database.dsn)).outcome == "drained"


async def test_the_leafs_identity_counts_even_when_the_parent_is_swept(
    database: TestDatabase,
) -> None:
    await database.execute(
        LEAVES + FUNCTION.format("AFTER", "") + "INSERT INTO t VALUES (1, now() - interval '1 s');"
        "CREATE PUBLICATION p FOR TABLE t"
    )
    report = await sweep(database.dsn)
    assert "deletes of public.t1, which has no replica identity" in (report.error or "")

    await database.execute("ALTER TABLE t1 REPLICA IDENTITY FULL")

    assert (await sweep(database.dsn)).deleted_count == 1


async def test_a_publication_of_inserts_alone_is_no_matter(database: TestDatabase) -> None:
    await database.execute(
        "CREATE TABLE t (expires_at timestamptz); INSERT INTO t VALUES (now() - interval '1 s');"
        "CREATE PUBLICATION p FOR TABLE t WITH (publish = 'insert')"
    )

    assert (await sweep(database.dsn)).deleted_count == 1


async def test_partitions_need_their_owner_and_a_partitioned_table(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(LEAVES)
    role = await database.role()
    await database.execute(f'GRANT SELECT, UPDATE, DELETE ON t, t1 TO "{role}"')
    option = configured(
        tmp_path, database, sweep_table(partitions="drop"), dsn=database.dsn_for(role)
    )

    result = await sweeperd("check", option)

    assert (result.code, "needs the owner of public.t" in result.out) == (1, True), result.out
    await database.execute("DROP TABLE t;" + TABLE)
    code, text = await found(database, tmp_path, partitions="drop")
    assert (code, "is not partitioned" in text) == (1, True)


@pytest.mark.parametrize(
    ("where", "warned"),
    [
        ("random() < 0.5", "random() in where or condition is volatile"),
        ("expires_at < Clock_Timestamp()", "clock_timestamp() in where"),
        ("lower('X') = 'x' AND date_trunc('day', now()) IS NOT NULL AND id IN (1, 2)", None),
    ],
)
async def test_volatile_functions_are_warned_about(
    database: TestDatabase, tmp_path: Path, where: str, warned: str | None
) -> None:
    await database.execute(TABLE)

    _, text = await found(database, tmp_path, where=where)

    assert ("is volatile" in text) is (warned is not None), text
    assert (warned or "") in text


async def test_check_looks_at_the_archive(database: TestDatabase, tmp_path: Path) -> None:
    await database.execute(TABLE + "CREATE TABLE a (id int)")

    code, text = await found(database, tmp_path, archive_to="a")

    assert code == 1
    assert "ALTER TABLE public.a ADD COLUMN expires_at timestamp with time zone" in text


async def test_a_read_only_server_is_told(database: TestDatabase, tmp_path: Path) -> None:
    await database.execute(TABLE)
    await database.execute(f"ALTER DATABASE {database.name} SET default_transaction_read_only = on")

    code, text = await found(database, tmp_path)

    assert (code, "read-only: sweeps wait" in text) == (0, True)
