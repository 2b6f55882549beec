"""`sweeperd plan`: what the next run would do, told before it, and nothing written."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sweeperd.host.clock import SystemClock
from sweeperd.sweep.guards.hold_file import Hold, Holds
from tests.cli.command import (
    SWEEPERD,
    configured,
    state_of_this_test,
    sweep_table,
    sweeperd,
)
from tests.conftest import TestDatabase

TABLE = (
    "CREATE TABLE t (id int PRIMARY KEY, expires_at timestamptz, secret text);"
    "INSERT INTO t SELECT g, now() + (g - 4000) * interval '1 minute', 'hunter2' "
    "FROM generate_series(1, 10000) g;"
)
NEXT_XID = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text"
WRITTEN = (
    "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del)::bigint FROM pg_stat_user_tables "
    "WHERE relname IN ('t', 'child')"
)


async def reader(database: TestDatabase, *tables: str) -> str:
    """Return a role that may read these tables and nothing more."""
    role = await database.role("reader")
    await database.execute(
        f"GRANT SELECT ON {', '.join(tables)} TO {role}; "
        f"GRANT EXECUTE ON FUNCTION pg_control_system() TO {role}"
    )
    return role


async def planned(*args: str, code: int = 0, **environ: str) -> list[dict[str, Any]]:
    result = await sweeperd("plan", "--json", *args, **environ)
    assert result.code == code, result.err + result.out
    found: list[dict[str, Any]] = json.loads(result.out)
    return found


def kinds(plan: dict[str, Any], *, stops: bool = True) -> set[str]:
    return {one["kind"] for one in plan["obstacles"] if one["stops"] == stops}


def texts(plan: dict[str, Any]) -> str:
    return "\n".join(one["text"] for one in plan["obstacles"])


@pytest.mark.every_server
async def test_all_is_told_and_nothing_is_written_with_select_alone(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(
        TABLE + "CREATE INDEX ON t (expires_at); CREATE TABLE child (id int, t int REFERENCES t "
        "ON DELETE CASCADE); INSERT INTO child SELECT g, g % 10000 + 1 "
        "FROM generate_series(1, 30000) g; ANALYZE child"
    )
    role = await reader(database, "t", "child")
    config = configured(tmp_path, database, dsn=database.dsn_for(role))
    while await database.fetchval(WRITTEN) != 40_000:  # the statistics come late
        pass
    before = [await database.fetchval(query) for query in (NEXT_XID, WRITTEN)]
    files = sorted(tmp_path.rglob("*"))

    [plan] = await planned(config)

    assert [await database.fetchval(query) for query in (NEXT_XID, WRITTEN)] == before
    assert sorted(tmp_path.rglob("*")) == files
    assert not Path(state_of_this_test()).exists()
    assert (plan["sweep"], plan["table"], plan["database"]) == ("s", "public.t", "app")
    assert plan["size"]["heap_bytes"] > plan["size"]["index_bytes"] > plan["size"]["toast_bytes"]
    assert plan["expired_method"] == "counted"
    assert plan["expired_estimate"] == pytest.approx(4000, abs=2)
    assert plan["live_estimate"] == pytest.approx(6000, abs=2)
    oldest = datetime.fromisoformat(plan["oldest_expired"])
    assert datetime.now(UTC) - oldest == pytest.approx(
        timedelta(minutes=3999), abs=timedelta(minutes=2)
    )
    assert plan["retention_lag_seconds"] == pytest.approx(3999 * 60, abs=120)
    assert [(leaf["strategy"], leaf["table"]) for leaf in plan["leaves"]] == [("heap", "public.t")]
    assert plan["batches_estimate"] >= 1
    assert plan["forecast_basis"] == "defaults"
    assert plan["wal_estimate_bytes"] > 4000 * 60
    [cascade] = plan["cascades"]
    assert cascade["table"] == "public.child"
    assert cascade["rows_estimate"] == pytest.approx(12000, rel=0.05)
    assert plan["dead_tuples_after"] - plan["dead_tuples"] == plan["expired_estimate"]
    assert plan["autovacuum"][0]["will_be_triggered"] is False
    assert re.match(r'DELETE FROM ONLY "public"."t" WHERE "t".ctid ', plan["statements"][0])
    assert any("CREATE INDEX CONCURRENTLY ON public.child (t)" in one for one in plan["advice"])
    assert [one["key"] for one in plan["examples"]] == ["id=1", "id=2", "id=3", "id=4", "id=5"]
    assert "hunter2" not in json.dumps(plan)
    assert kinds(plan) == {"privilege"}
    assert f"GRANT SELECT, UPDATE, DELETE ON public.t TO {role}" in texts(plan)
    assert plan["will_delete"] is False


async def test_all_that_stands_in_the_way_is_told(database: TestDatabase, tmp_path: Path) -> None:
    await database.execute(
        TABLE
        + "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
        "CREATE TRIGGER keep BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION keep();"
        "CREATE TABLE old AS SELECT * FROM t WHERE false;"
        "CREATE TABLE ruled (LIKE t); CREATE RULE r AS ON DELETE TO ruled DO INSTEAD NOTHING;"
    )
    hour = datetime.now(UTC) + timedelta(hours=6)
    window = f"{hour:%H}:00-{hour + timedelta(hours=1):%H}:00 UTC"
    Holds(Path(state_of_this_test()), SystemClock().now).place(Hold("held", "an audit", by="ada"))
    config = configured(
        tmp_path,
        database,
        sweep_table("off") + "enabled = false\n",
        sweep_table("dry", column="id", unit="epoch_s") + "dry_run = true\n",
        sweep_table("held", table="old", window=window, before="ruled").replace(
            '"ruled"', '["ruled"]'
        ),
        sweep_table("ruled", table="ruled"),
        sweep_table("gone", table="tt"),
        sweep_table("first", table="t", where="true", keep="-0s".replace("-", ""), max_rows=5),
    )

    plans = {plan["sweep"]: plan for plan in await planned(config, code=1)}

    assert "disabled" in kinds(plans["off"])
    assert "dry_run" in kinds(plans["dry"])
    assert {"held", "window"} <= kinds(plans["held"])
    assert "an audit" in texts(plans["held"])
    assert {"before"} <= kinds(plans["ruled"], stops=False)
    assert "DROP RULE" in texts(plans["ruled"])
    assert plans["ruled"]["expired_estimate"] is None
    assert plans["ruled"].keys() == plans["first"].keys()
    assert "did you mean" in texts(plans["gone"])
    assert "trigger" in kinds(plans["first"], stops=False)
    assert "limit" in kinds(plans["first"], stops=False)
    assert plans["first"]["runs_estimate"] == 800


async def test_a_first_run_without_survivors_is_foreseen(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute("CREATE TABLE t AS SELECT now() - interval '1 day' AS expires_at")

    [plan] = await planned(configured(tmp_path, database))

    assert "guard" in kinds(plan)
    assert "would survive" in texts(plan)


async def test_another_configuration_is_compared_with_the_one_in_force(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(TABLE + "CREATE TABLE u AS TABLE t; CREATE TABLE v AS TABLE t")
    now, new = tmp_path / "now", tmp_path / "new"
    now.mkdir()
    new.mkdir()
    tables = sweep_table("s"), sweep_table("same", "u"), sweep_table("gone", "v")
    configured(now, database, *tables)
    option = configured(
        new, database, sweep_table("s", keep="1h"), sweep_table("same", "u"), sweep_table("n", "v")
    )
    in_force = str(now / "sweeperd.toml")

    plans = {plan["sweep"]: plan for plan in await planned(option, SWEEPERD_CONFIG=in_force)}
    shown = await sweeperd("plan", option, SWEEPERD_CONFIG=in_force)
    [missing, *_] = await planned(option, SWEEPERD_CONFIG=str(tmp_path / "none.toml"))

    assert {name: plan["change"] for name, plan in plans.items()} == {
        "s": "changed",
        "same": "unchanged",
        "n": "added",
        "gone": "removed",
    }
    [key] = plans["s"]["changes"]
    assert key == {"key": "keep", "former": '"0s"', "new": '"1h"'}
    assert 'keep: "0s" -> "1h"' in shown.out
    assert "gone: removed" in shown.out
    assert missing["change"] is None


async def test_partitions_that_go_whole_are_named_and_past_runs_calibrate(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(
        "CREATE TABLE t (id int, expires_at timestamptz) PARTITION BY RANGE (expires_at);"
        "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM ('2020-01-01') TO ('2020-02-01');"
        "CREATE TABLE t2 PARTITION OF t FOR VALUES FROM ('2020-02-01') TO ('2999-01-01');"
        "INSERT INTO t SELECT g, '2020-01-02' FROM generate_series(1, 50) g;"
        "INSERT INTO t SELECT g, '2020-02-02' FROM generate_series(1, 100) g;"
        "INSERT INTO t VALUES (0, '2998-01-01')"
    )

    [plan] = await planned(configured(tmp_path, database, sweep_table(partitions="drop")))

    assert plan["partitions"] == ["public.t1"]
    assert [leaf["table"] for leaf in plan["leaves"]] == ["public.t2"]
    assert plan["expired_estimate"] == 100


async def test_exact_counts_and_a_condition_has_no_oldest_row(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(TABLE)
    condition = "[sweeps.s]\ntable = 't'\ncondition = 'expires_at < :cutoff'\n"

    [plan] = await planned("--exact", configured(tmp_path, database, condition))

    assert plan["expired_method"] == "counted"
    assert plan["expired_estimate"] == pytest.approx(4000, abs=2)
    assert (plan["oldest_expired"], plan["retention_lag_seconds"]) == (None, None)
    assert plan["examples"][0]["expires"] is None


async def test_an_unknown_name_a_lost_database_and_a_locked_table_end_in_words(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(TABLE)
    config = configured(tmp_path, database)
    unknown = await sweeperd("plan", "sx", config)
    assert (unknown.code, "did you mean s?" in unknown.err) == (2, True)

    other = await database.connect()
    async with other.transaction():
        await other.execute("LOCK t")
        [locked] = await planned(config, code=1)
    assert "t is locked by another session" in texts(locked)

    away = configured(tmp_path, database, dsn="postgresql://u@127.0.0.1:1/d")
    [lost] = await planned(away, code=69)
    assert "cannot connect" in texts(lost)


async def test_it_fits_forty_columns_and_a_pipe_has_no_colour(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(TABLE)
    config = configured(tmp_path, database)

    narrow = await on_terminal("plan", config, COLUMNS="40")
    plain = await on_terminal("plan", config, COLUMNS="40", NO_COLOR="1")
    piped = await sweeperd("plan", config)

    assert "\x1b[" in narrow
    assert "\x1b[" not in plain + piped.out
    lines = [line for line in plain.splitlines() if " " in line.strip()]
    assert max(len(line) for line in lines) <= 40, max(lines, key=len)
    assert "s: will delete" in piped.out
    assert "4,000 of 10,000 rows (counted)" in piped.out or "3,999 of" in piped.out


async def on_terminal(*args: str, **environ: str) -> str:
    """Run a command on a terminal of its own; return what it wrote."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "STATE_DIRECTORY": state_of_this_test(), **environ}
    process = await asyncio.create_subprocess_exec(
        *SWEEPERD, *args, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    text = b""
    while True:
        try:
            read = await asyncio.to_thread(os.read, ours, 65536)
        except OSError:  # the other end is closed
            break
        if not read:
            break
        text += read
    await process.wait()
    os.close(ours)
    return text.decode().replace("\r\n", "\n")


async def test_a_pipe_that_is_closed_early_is_no_error(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(TABLE)
    config = configured(tmp_path, database)
    command = " ".join([*SWEEPERD, "plan", config])

    process = await asyncio.create_subprocess_shell(
        f"{command} | true",
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "STATE_DIRECTORY": state_of_this_test()},
    )
    _, errors = await process.communicate()

    assert b"Traceback" not in errors
    assert b"Broken" not in errors
