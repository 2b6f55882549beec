"""`sweeperd sweep`: what a user sees, and what each mistake ends with."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.cli.command import Result, configured, result_of, start, sweep_table, sweeperd
from tests.conftest import TestDatabase

ROWS = (
    "CREATE TABLE t AS SELECT g AS id, now() + (g - 100.5) * interval '1 hour' AS expires_at "
    "FROM generate_series(1, 200) g"
)
EPOCHS = (
    "CREATE TABLE t AS SELECT g AS id, (extract(epoch FROM now()) * {} + (g - 100) * 3600 * {})"
    "::bigint AS expires_at FROM generate_series(1, 200) g"
)


def said(result: Result, *words: str) -> None:
    for word in words:
        assert word in result.err + result.out


async def left(database: TestDatabase) -> int:
    return int(await database.fetchval("SELECT count(*) FROM t"))


async def test_json_prints_an_array_of_reports_and_logs_go_to_stderr(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(ROWS)

    result = await sweeperd(
        "sweep", "--json", "--correlation-id", "deploy-42", configured(tmp_path, database)
    )

    assert result.code == 0
    report = result.reports[0]
    assert (report["sweep"], report["correlation_id"]) == ("s", "deploy-42")
    assert (report["outcome"], report["deleted_count"]) == ("drained", 100)
    assert report["strategy"] == "heap"
    assert report["skipped_count"] == 0
    assert report["batches"] >= 1
    assert report["duration_seconds"] > 0
    assert report["cutoff_time"].endswith("+00:00")
    assert report["strategy_reason"]
    assert report["end_reason"] is None
    assert '"event": "sweep_ran"' in result.err
    assert await left(database) == 100


async def test_dry_run_counts_and_writes_nothing(database: TestDatabase, tmp_path: Path) -> None:
    await database.execute(ROWS)

    result = await sweeperd("sweep", "--dry-run", configured(tmp_path, database))

    assert result.code == 0
    said(result, "100 rows would go")
    assert await left(database) == 200


async def test_max_rows_caps_the_run(database: TestDatabase, tmp_path: Path) -> None:
    await database.execute(ROWS)

    result = await sweeperd("sweep", "--max-rows=7", "--json", configured(tmp_path, database))

    assert (result.reports[0]["outcome"], result.reports[0]["deleted_count"]) == ("capped", 7)
    assert await left(database) == 193


async def test_only_the_named_sweeps_run(database: TestDatabase, tmp_path: Path) -> None:
    await database.execute(ROWS + "; CREATE TABLE u AS TABLE t")
    config = configured(tmp_path, database, sweep_table("a"), sweep_table("b", "u"))

    result = await sweeperd("sweep", "b", "--json", config)

    assert [report["sweep"] for report in result.reports] == ["b"]
    assert await left(database) == 200


async def test_an_unknown_name_is_a_usage_error_with_a_suggestion(
    database: TestDatabase, tmp_path: Path
) -> None:
    result = await sweeperd(
        "sweep", "sesion", configured(tmp_path, database, sweep_table("session"))
    )

    assert result.code == 2
    said(result, "no sweep is called sesion: did you mean session?")


@pytest.mark.parametrize("given", ["a b", "", "x" * 65, "ü", "a/b"])
async def test_a_correlation_id_of_other_letters_is_a_usage_error(
    database: TestDatabase, tmp_path: Path, given: str
) -> None:
    result = await sweeperd("sweep", "--correlation-id", given, configured(tmp_path, database))

    assert result.code == 2


async def test_one_sweep_that_fails_does_not_stop_the_others(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(ROWS)
    config = configured(tmp_path, database, sweep_table("a", "nothing"), sweep_table("b"))

    result = await sweeperd("sweep", "--json", config)

    assert result.code == 1
    assert [report["outcome"] for report in result.reports] == ["failed", "drained"]
    assert result.reports[0]["error"]
    assert await left(database) == 100


async def test_ctrl_c_ends_at_the_batchs_edge_with_the_report(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(ROWS)
    config = configured(tmp_path, database, sweep_table(timeout="10min") + "rate_limit = 1\n")
    await database.execute("CREATE TABLE gone(id int);"
        "CREATE FUNCTION note() RETURNS trigger AS $$ BEGIN INSERT INTO gone "
        "VALUES (OLD.id); RETURN OLD; END $$ LANGUAGE plpgsql;"
        "CREATE TRIGGER note BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION note()")  # fmt: skip
    process = await start("sweep", "--json", config)
    end = time.monotonic() + 60
    while not await database.fetchval("SELECT count(*) FROM gone"):
        assert time.monotonic() < end, "no row went in a minute"
    process.send_signal(signal.SIGINT)

    result = await result_of(process)

    report = result.reports[0]
    assert (result.code, report["outcome"]) == (0, "stopped")
    assert report["deleted_count"] == 200 - await left(database) > 0


async def test_only_state_and_locks_are_written_to_the_state_directory(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(ROWS)
    state = tmp_path / "state"
    state.mkdir()

    await sweeperd("sweep", configured(tmp_path, database), STATE_DIRECTORY=str(state))

    names = {"batches.lock", "runs.lock", "state.db", "state.sequence"}
    assert {path.name for path in state.rglob("*")} == names


async def test_a_first_run_that_would_empty_the_table_is_held_until_release(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(
        "CREATE TABLE t AS SELECT now() - interval '1 h' AS expires_at FROM generate_series(1, 9)"
    )
    config, state = configured(tmp_path, database), {"STATE_DIRECTORY": str(tmp_path / "state")}

    held = await sweeperd("sweep", config, **state)
    assert (held.code, await left(database)) == (1, 9)
    told = "none of 9 sampled rows of public.t would survive"
    said(held, "sweep_held", "sweep_ran", told, "sweeperd release s")
    again = await sweeperd("sweep", config, **state)
    assert (again.code, await left(database)) == (1, 9)

    released = await sweeperd("release", "s", config, **state)
    said(released, "s is released", told)
    swept = await sweeperd("sweep", config, **state)
    assert (swept.code, await left(database)) == (0, 0)
    said(swept, "sweep_released", "would survive")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"table": "sesions"}, ("sesions does not exist", "public.sessions")),
        ({"table": "sessions", "column": "expire_at"}, ("expire_at", "expires_at")),
        ({"table": "v"}, ("v is a view", "name the table behind it")),
        ({"table": "m"}, ("is a materialized view",)),
        ({"table": "sessions", "column": "data"}, ("data", "jsonb")),
        ({"table": "sessions", "column": "flag"}, ("flag", "boolean")),
        ({"table": "sessions", "column": "id"}, ("id", "unit")),
        ({"table": "sessions", "column": "local"}, ("column_timezone",)),
        ({"table": "sessions", "where": "no_such_column = 1"}, ("no_such_column",)),
    ],
)
async def test_what_is_wrong_with_table_or_column_is_said_with_exit_1(
    database: TestDatabase, tmp_path: Path, keys: dict[str, str], words: tuple[str, ...]
) -> None:
    await database.execute(
        "CREATE TABLE sessions (id int, data jsonb, flag bool, local timestamp, "
        "expires_at timestamptz); CREATE VIEW v AS TABLE sessions;"
        "CREATE MATERIALIZED VIEW m AS TABLE sessions"
    )

    result = await sweeperd("sweep", configured(tmp_path, database, sweep_table(**keys)))

    assert result.code == 1
    said(result, *words)


@pytest.mark.parametrize(
    ("factor", "unit", "right"),
    [(1000, "epoch_s", "epoch_ms"), (1, "epoch_ms", "epoch_s"), (1, "epoch_us", "epoch_s")],
)
async def test_a_wrong_unit_is_refused_both_ways(
    database: TestDatabase, tmp_path: Path, factor: int, unit: str, right: str
) -> None:
    await database.execute(EPOCHS.format(factor, factor))

    result = await sweeperd("sweep", configured(tmp_path, database, sweep_table(unit=unit)))

    assert result.code == 1
    said(result, f'they are as unit = "{right}"', "correct unit")
    assert await left(database) == 200


async def test_a_missing_privilege_is_said_with_its_grant(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(ROWS)
    role = await database.role()
    config = configured(tmp_path, database, dsn=database.dsn_for(role))

    result = await sweeperd("sweep", config)

    assert result.code == 1
    said(result, "GRANT", "DELETE", "public.t", role)


@pytest.mark.parametrize(
    "name",
    [
        'with "quotes"',
        "CamelCase",
        "with blank",
        "ünï¢ødé",
        "x'; DROP TABLE t; --",
        "a.b",
        "select",
    ],
)
async def test_odd_names_are_swept_as_they_are(
    database: TestDatabase, tmp_path: Path, name: str
) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    await database.execute(
        f"CREATE SCHEMA {quoted}; CREATE TABLE {quoted}.{quoted} AS SELECT "
        f"now() + g * interval '1 hour' AS {quoted} FROM generate_series(-9, 9) g; "
        f"CREATE TABLE t AS SELECT 1"
    )
    sweep = sweep_table(table=f"{quoted}.{quoted}", column=name)

    result = await sweeperd("sweep", "--json", configured(tmp_path, database, sweep))

    assert result.reports[0]["deleted_count"] == 10
    assert await left(database) == 1


@pytest.mark.parametrize(
    "dsn", ["postgresql://u@127.0.0.1:1/d", "host=/nonexistent dbname=d user=u"]
)
async def test_a_server_that_is_not_there_ends_with_69(
    database: TestDatabase, tmp_path: Path, dsn: str
) -> None:
    result = await sweeperd("sweep", configured(tmp_path, database, dsn=dsn))

    assert result.code == 69
    said(result, "app")


async def test_a_database_that_is_not_there_ends_with_69(
    database: TestDatabase, tmp_path: Path
) -> None:
    config = configured(tmp_path, database, dsn=database.server.dsn("no_such_db"))

    result = await sweeperd("sweep", config)

    assert result.code == 69
    said(result, "no_such_db")


async def test_a_config_error_ends_with_78(tmp_path: Path) -> None:
    result = await sweeperd("sweep", f"--config={tmp_path}/no.toml")

    assert result.code == 78
    said(result, "there is no such file")
