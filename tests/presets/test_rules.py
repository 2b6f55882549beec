"""Each preset on its project's own table: what the project's predicate says goes, and no more."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from sweeperd.config.files.loading import load_config
from sweeperd.config.models import SweepConfig
from sweeperd.config.presets.preset import Preset, presets
from sweeperd.config.values.durations import parse_duration
from tests.cli.command import configured
from tests.conftest import TestDatabase
from tests.parts import need
from tests.presets.cases import CASES
from tests.presets.rows import Case, ddl, fill
from tests.sweep.engine import sweep

WITH_STORE = [pytest.param(one, id=one.preset, marks=need("shared")) for one in CASES]


def test_each_preset_has_a_case() -> None:
    assert {case.preset for case in CASES} == set(presets())


async def load(database: TestDatabase, case: Case) -> tuple[Preset, timedelta]:
    preset = presets()[case.preset]
    keep = parse_duration(case.keys["keep"]) if "keep" in case.keys else preset.keep
    assert keep is not None
    await database.execute(ddl(case))
    # what pg_dump leaves behind, or an application sets for its role
    await database.execute("SET search_path = public, pg_catalog")
    await fill(database, case, preset, keep)
    return preset, keep


def sweep_of(tmp_path: Path, database: TestDatabase, case: Case) -> SweepConfig:
    keys = {"preset": case.preset, **case.keys}
    text = "".join(f"{key} = '{value}'\n" for key, value in keys.items())
    option = configured(tmp_path, database, f"[sweeps.s]\n{text}")
    return load_config(Path(option.removeprefix("--config="))).sweeps["s"]


def rule(case: Case, preset: Preset, keep: timedelta) -> str:
    seconds = int(keep.total_seconds())
    zone = case.keys.get("column_timezone") or preset.column_timezone or "UTC"
    return (
        preset.rule.replace(":keep", f"interval '{seconds} seconds'")
        .replace(":seconds", str(seconds))
        .replace(":zone", f"'{zone}'")
    )


@pytest.mark.parametrize("case", WITH_STORE)
async def test_what_goes_is_what_the_projects_own_predicate_says(
    database: TestDatabase, tmp_path: Path, case: Case
) -> None:
    preset, keep = await load(database, case)
    one = sweep_of(tmp_path, database, case)
    rows = f"SELECT ctid::text AS id FROM {one.table}"
    before = {row["id"] for row in await database.fetch(rows)}
    gone = {row["id"] for row in await database.fetch(f"{rows} WHERE {rule(case, preset, keep)}")}
    assert gone
    assert before - gone

    report = await sweep(database.dsn, **dict(one))

    assert (report.outcome, report.deleted_count) == ("drained", len(gone)), report.end_reason
    assert {row["id"] for row in await database.fetch(rows)} == before - gone


@pytest.mark.parametrize("case", WITH_STORE)
async def test_a_table_that_only_shares_the_name_is_refused(
    database: TestDatabase, tmp_path: Path, case: Case
) -> None:
    await database.execute(ddl(case))
    await database.execute("SET search_path = public, pg_catalog")
    one = sweep_of(tmp_path, database, case)
    preset = presets()[case.preset]
    column = next(name for name in preset.columns if name != one.column)
    await database.execute(f'ALTER TABLE {one.table} RENAME "{column}" TO another')

    report = await sweep(database.dsn, **dict(one))

    assert report.outcome == "failed"
    assert f'is not the table of preset "{preset.name}"' in str(report.end_reason)
    assert f"it has no column {column}" in str(report.end_reason)


def test_a_preset_is_one_line(tmp_path: Path, database: TestDatabase) -> None:
    one = sweep_of(tmp_path, database, Case("django-sessions"))

    assert (one.table, one.column, one.keep) == ("django_session", "expire_date", timedelta(0))
