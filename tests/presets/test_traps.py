"""The traps that real stores set: zones, durations, sentinels and keys checked at COMMIT."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeperd.config.presets.preset import presets
from tests.cli.command import configured, sweeperd
from tests.conftest import TestDatabase
from tests.parts import need
from tests.presets.cases import CASES
from tests.presets.rows import ddl
from tests.presets.test_rules import load, rule, sweep_of
from tests.sweep.engine import sweep

NAIVE = [
    pytest.param(case, id=case.preset, marks=need("shared"))
    for case in CASES
    if case.preset
    in {"tower-sessions", "flask-sessions", "connect-pg-simple", "rails-sessions", "oban-jobs",
        "hydra-access-tokens", "good-job-executions", "keycloak-offline-client-sessions"}
]  # fmt: skip
BY_NAME = {case.preset: case for case in CASES}


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/Los_Angeles"])
@pytest.mark.parametrize("case", NAIVE)
async def test_the_time_zone_of_the_role_does_not_matter(
    database: TestDatabase, tmp_path: Path, case: object, zone: str
) -> None:
    assert isinstance(case, type(CASES[0]))
    preset, keep = await load(database, case)
    await database.execute(f"ALTER DATABASE {database.name} SET TimeZone = '{zone}'")
    one = sweep_of(tmp_path, database, case)
    gone = await database.fetchval(
        f"SELECT count(*) FROM {one.table} WHERE {rule(case, preset, keep)}"
    )

    report = await sweep(database.dsn, **dict(one))

    assert (report.outcome, report.deleted_count) == ("drained", gone), report.end_reason


@need("shared")
async def test_durations_in_symfonys_former_column_stop_the_sweep(
    database: TestDatabase, tmp_path: Path
) -> None:
    case = BY_NAME["symfony-sessions"]
    await database.execute(ddl(case))
    await database.execute("SET search_path = public, pg_catalog")
    await database.execute(
        "INSERT INTO sessions SELECT g::text, '', 1440, extract(epoch FROM now())::int "
        "FROM generate_series(1, 50) g"
    )

    report = await sweep(database.dsn, **dict(sweep_of(tmp_path, database, case)))

    assert report.outcome == "failed"
    assert "1440 are not plausible as times" in str(report.end_reason)
    assert await database.fetchval("SELECT count(*) FROM sessions") == 50


@need("shared")
async def test_a_key_that_is_checked_at_commit_is_no_trap_children_go_first(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(ddl(BY_NAME["simplejwt-outstanding-tokens"]))
    await database.execute("SET search_path = public, pg_catalog")
    await database.execute(
        "INSERT INTO token_blacklist_outstandingtoken (id, token, expires_at, jti) "
        "SELECT g, g, now() + (g - 50) * interval '1 hour', g FROM generate_series(0, 99) g; "
        "INSERT INTO token_blacklist_blacklistedtoken (blacklisted_at, token_id) "
        "SELECT now(), g FROM generate_series(0, 99, 3) g"
    )
    # the parent stands first in the file
    names = ("simplejwt-outstanding-tokens", "simplejwt-blacklisted-tokens")
    option = configured(
        tmp_path, database, *(f'[sweeps.{name}]\npreset = "{name}"\n' for name in names)
    )

    result = await sweeperd("sweep", "--json", option)

    assert [(one["sweep"], one["deleted_count"]) for one in result.reports] == [
        (names[1], 17),
        (names[0], 51),
    ], result
    assert await database.fetchval("SELECT min(id) FROM token_blacklist_outstandingtoken") == 51


@need("shared")
async def test_check_refuses_a_stranger_with_the_same_name(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(ddl(BY_NAME["scs-sessions"]))
    option = configured(tmp_path, database, '[sweeps.s]\npreset = "symfony-sessions"\n')

    result = await sweeperd("check", option)

    assert result.code == 1
    assert 'is not the table of preset "symfony-sessions" (Symfony)' in result.out
    assert "it has no column sess_id" in result.out


@need("shared")
@pytest.mark.parametrize("name", [name for name, one in presets().items() if one.table])
async def test_no_store_is_taken_for_another(database: TestDatabase, name: str) -> None:
    """Each of the tables called `sessions` is refused by the presets of the others."""
    preset = presets()[name]
    last = str(preset.table).rpartition(".")[2]
    same = [one for one in presets().values() if str(one.table).rpartition(".")[2] == last]
    for other in same:
        if other is not preset:
            shared = {column for column in preset.columns if column in other.columns}
            assert shared != set(preset.columns) or any(
                not {*preset.types(one)} & {*other.types(one)} for one in shared
            ), f"{name} would take {other.name}'s table"
