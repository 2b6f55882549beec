"""`sweeperd check`: what it finds and what it ends with."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sweeperd.demo.server import Installation, Server
from tests.cli.command import configured, sweep_table, sweeperd
from tests.conftest import TestDatabase

TABLE = "CREATE TABLE t (id int PRIMARY KEY, expires_at timestamptz)"


async def test_all_is_well_and_keep_is_shown_as_an_instant(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(TABLE + "; CREATE INDEX ON t (expires_at)")

    result = await sweeperd("check", configured(tmp_path, database, sweep_table(keep="90d")))

    day = datetime.now(UTC) - timedelta(days=90)
    assert result.code == 0
    assert "PostgreSQL 18" in result.out
    assert f"rows before {day:%Y-%m-%d}" in result.out
    assert result.out.count("warning") == result.out.count("is a superuser") == 1


async def test_a_missing_index_is_a_warning_with_its_cure(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(TABLE)

    result = await sweeperd("check", configured(tmp_path, database))

    assert result.code == 0
    assert "CREATE INDEX CONCURRENTLY ON public.t (expires_at)" in result.out


async def test_each_sweep_is_checked_whatever_the_others_lack(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(TABLE)
    config = configured(tmp_path, database, sweep_table("a", "missing"), sweep_table("b"))

    result = await sweeperd("check", "--json", config)

    levels = {line["subject"]: line["level"] for line in json.loads(result.out)}
    assert result.code == 1
    assert levels["sweeps.a"] == "error"
    assert "sweeps.b" in levels


async def test_a_missing_grant_is_named(database: TestDatabase, tmp_path: Path) -> None:
    await database.execute(TABLE)
    role = await database.role()

    result = await sweeperd("check", configured(tmp_path, database, dsn=database.dsn_for(role)))

    assert result.code == 1
    assert "GRANT SELECT, UPDATE, DELETE ON public.t" in result.out


async def test_offline_connects_to_nothing(database: TestDatabase, tmp_path: Path) -> None:
    config = configured(tmp_path, database, dsn="postgresql://u@127.0.0.1:1/d")

    assert (await sweeperd("check", "--offline", config)).code == 0
    assert (await sweeperd("check", config)).code == 69


async def test_print_shows_no_secret(database: TestDatabase, tmp_path: Path) -> None:
    config = configured(tmp_path, database, dsn="postgresql://u:hunter2@127.0.0.1:1/d")

    result = await sweeperd("check", "--offline", "--print", config)

    assert result.code == 0
    assert "hunter2" not in result.out + result.err
    assert '[sweeps.s]\ndatabase = "app"' in result.out


async def test_schema_is_json(tmp_path: Path) -> None:
    result = await sweeperd("check", "--schema")

    assert json.loads(result.out)["properties"]["sweeps"]


async def test_a_wrong_password_ends_with_69_and_is_never_shown(tmp_path: Path) -> None:
    installation = Installation.find()
    server = Server(installation, {"password_encryption": "scram-sha-256"})
    server.create()
    try:
        hba = server.data / "pg_hba.conf"
        server.start()
        import asyncpg  # noqa: PLC0415 - this test alone talks to a server of its own

        admin = await asyncpg.connect(server.dsn())
        await admin.execute("CREATE ROLE app LOGIN PASSWORD 'right'")
        await admin.close()
        server.stop()
        hba.write_text("local all app scram-sha-256\nlocal all all trust\n")
        server.start()
        path = tmp_path / "sweeperd.toml"
        dsn = server.dsn("postgres", "app").replace("app@", "app:hunter2@")
        path.write_text(f"[databases.app]\ndsn = {json.dumps(dsn)}\n{sweep_table()}")

        for command in ("check", "sweep"):
            result = await sweeperd(command, f"--config={path}")
            assert result.code == 69
            assert "password" in result.out + result.err
            assert "hunter2" not in result.out + result.err
        right = tmp_path / "password"
        right.write_text("right\n")
        right.chmod(0o600)
        path.write_text(
            f"[databases.app]\ndsn = {json.dumps(server.dsn('postgres', 'app'))}\n"
            f'password_file = "{right}"\n{sweep_table()}'
        )
        assert (await sweeperd("check", f"--config={path}")).code == 1  # logged in; no table
    finally:
        server.stop(immediate=True)
        server.remove()
