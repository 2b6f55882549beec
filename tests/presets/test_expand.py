"""What `preset` in a sweep stands for, and what an operator's own keys do beside it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from sweeperd.config.files.loading import load_config
from sweeperd.config.files.render import render
from sweeperd.config.models import Config, SweepConfig
from sweeperd.errors import ConfigError

DATABASE = '[databases.app]\ndsn = "postgresql:///app"\n'


def load(tmp_path: Path, text: str, *, base: str = DATABASE) -> Config:
    path = tmp_path / "sweeperd.toml"
    path.write_text(base + text)
    return load_config(path)


def one(tmp_path: Path, *lines: str, defaults: str = "") -> SweepConfig:
    text = f"[defaults]\n{defaults}\n[sweeps.s]\n" + "\n".join(lines) + "\n"
    return load(tmp_path, text).sweeps["s"]


def problem(tmp_path: Path, *lines: str) -> str:
    with pytest.raises(ConfigError) as caught:
        one(tmp_path, *lines)
    assert len(caught.value.problems) == 1
    return str(caught.value.problems[0])


def test_a_preset_is_a_whole_sweep(tmp_path: Path) -> None:
    sweep = one(tmp_path, 'preset = "django-sessions"')

    assert (sweep.table, sweep.column, sweep.unit) == (
        "django_session",
        "expire_date",
        "timestamptz",
    )
    assert sweep.keep == timedelta(0)
    assert sweep.preset == "django-sessions"


def test_keys_beside_it_override_it(tmp_path: Path) -> None:
    sweep = one(
        tmp_path, 'preset = "good-jobs"', 'keep = "30d"', 'table = "app.good_jobs"', "workers = 2"
    )

    assert (sweep.table, sweep.keep) == ("app.good_jobs", timedelta(days=30))
    assert (sweep.column, sweep.column_timezone, sweep.workers) == ("finished_at", "UTC", 2)


def test_defaults_do_not_reach_into_a_preset(tmp_path: Path) -> None:
    given = 'keep = "1s"\nunit = "date"\ncolumn_timezone = "UTC"\nwhere = "a"\ninterval = "1h"'
    sweep = one(tmp_path, 'preset = "django-sessions"', defaults=given)

    assert (sweep.keep, sweep.unit, sweep.where) == (timedelta(0), "timestamptz", None)
    assert sweep.interval == timedelta(hours=1)


def test_keep_goes_into_a_presets_condition(tmp_path: Path) -> None:
    sweep = one(tmp_path, 'preset = "oban-jobs"', 'keep = "7d"')

    assert sweep.keep is None
    assert str(sweep.condition).count("interval '604800.000000 seconds'") == 3
    assert ":keep" not in str(sweep.condition)


def test_a_condition_replaces_all_that_says_what_goes(tmp_path: Path) -> None:
    sweep = one(tmp_path, 'preset = "pgqueuer-log"', 'condition = "created < :cutoff"')

    assert (sweep.column, sweep.keep, sweep.where) == (None, None, None)
    assert sweep.condition == "created < :cutoff"


def test_a_column_replaces_a_presets_condition(tmp_path: Path) -> None:
    sweep = one(
        tmp_path,
        'preset = "oban-jobs"',
        'column = "inserted_at"',
        'column_timezone = "UTC"',
        'keep = "90d"',
    )

    assert (sweep.condition, sweep.column, sweep.keep) == (
        None,
        "inserted_at",
        timedelta(days=90),
    )


@pytest.mark.parametrize(
    ("preset", "key", "said"),
    [
        ("laravel-sessions", "keep", "SESSION_LIFETIME (minutes): write it as keep (its default"),
        ("connect-pg-simple", "column_timezone", "the TimeZone of the application's connections"),
        ("pgmq-archive", "table", "table and keep"),
    ],
)
def test_what_the_applications_settings_decide_must_be_written(
    tmp_path: Path, preset: str, key: str, said: str
) -> None:
    keep = ['keep = "30d"'] if key == "table" else []
    found = problem(tmp_path, f'preset = "{preset}"', *keep)

    assert f"sweeps.s.{key}: is required" in found
    assert said in found


@pytest.mark.parametrize("text", ['"djangosessions"', "1", '["a"]'])
def test_a_name_that_is_no_preset_is_told_once(tmp_path: Path, text: str) -> None:
    assert "is not a preset" in problem(tmp_path, f"preset = {text}")


def test_children_are_swept_first_whatever_the_order_in_the_file(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        '[sweeps.access]\npreset = "django-oauth-access-tokens"\n'
        '[sweeps.refresh]\npreset = "django-oauth-refresh-tokens"\n',
    )

    assert config.sweeps["refresh"].before == ("access",)
    assert config.sweeps["access"].before == ()


def test_children_of_another_database_are_no_children(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        '[databases.other]\ndsn = "postgresql:///other"\n'
        '[sweeps.jobs]\npreset = "good-jobs"\ndatabase = "app"\n'
        '[sweeps.executions]\npreset = "good-job-executions"\ndatabase = "other"\n',
    )

    assert config.sweeps["executions"].before == ()


@pytest.mark.parametrize("preset", ["django-sessions", "good-job-executions", "river-jobs"])
def test_what_check_prints_means_the_same(tmp_path: Path, preset: str) -> None:
    config = load(tmp_path, f'[sweeps.s]\npreset = "{preset}"\n')

    again = load(tmp_path, render(config), base="")

    assert again.sweeps == config.sweeps


def test_a_where_that_replaces_a_presets_is_a_warning(tmp_path: Path) -> None:
    keys = 'preset = "pgqueuer-log"\nkeep = "30d"\n'
    same = load(tmp_path, f'[sweeps.s]\n{keys}where = "aggregated"\n')
    other = load(tmp_path, f'[sweeps.s]\n{keys}where = "job_id > 5"\n')

    assert other.sweeps["s"].where == "job_id > 5"
    said = "sweeps.s.where replaces that of preset pgqueuer-log, aggregated; repeat what must stay"
    assert said in other.warnings
    assert said not in same.warnings
