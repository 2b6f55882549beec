"""What `check --print` and `check --schema` give, and the sample that is installed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import tomli
from pydantic import BaseModel

from sweeperd.config.files.loading import load_config
from sweeperd.config.files.messages import keys_of
from sweeperd.config.files.render import render
from sweeperd.config.files.schema import schema
from sweeperd.config.models import DaemonConfig, DatabaseConfig, SweepConfig

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "etc" / "sweeperd.toml"
TABLES: dict[str, type[BaseModel]] = {
    "daemon": DaemonConfig,
    "databases": DatabaseConfig,
    "sweeps": SweepConfig,
}


def test_what_is_printed_reads_back_as_the_same_and_holds_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(
        '[databases.app]\ndsn = "host=h user=u dbname=d"\nmax_clock_skew = "90s"\n'
        '[sweeps.x]\ntable = "Odd \\"T\\""\ncolumn = "c"\nkeep = "1.5h"\n'
        'window = "01:00-05:00 Europe/Berlin"\nwhere = "a = E\'\\\\n\'"\nmax_fraction = 0.5\n'
        '[sweeps.y]\ntable = "t"\ncondition = "d < :cutoff"\n'
    )
    first = load_config(path)
    path.write_text(render(first))

    again = load_config(path)

    assert again.sweeps == first.sweeps
    assert again.databases == first.databases


@pytest.mark.parametrize(
    "dsn",
    ["postgresql://u:hunter2@h/d", "host=h password=hunter2", "postgresql://h/d?password=hunter2"],
)
def test_no_password_is_printed(tmp_path: Path, dsn: str) -> None:
    path = tmp_path / "a.toml"
    path.write_text(f'[databases.app]\ndsn = "{dsn}"\n')
    config = load_config(path)

    shown = render(config) + repr(config) + config.model_dump_json()

    assert "hunter2" not in shown
    assert "***" in render(config)


def test_the_schema_knows_every_key_and_no_other() -> None:
    properties = schema()["properties"]

    for name, model in TABLES.items():
        table = properties[name]
        table = table.get("additionalProperties") or table
        assert sorted(table["properties"]) == sorted(keys_of(model))
        assert table["additionalProperties"] is False


def test_the_sample_is_valid_and_sweeps_nothing() -> None:
    assert load_config(SAMPLE).sweeps == {}


def test_the_sample_with_its_comments_taken_off_is_valid_and_has_every_key(tmp_path: Path) -> None:
    text = re.sub(r"(?m)^# (?=\[|[a-z_]+ = )", "", SAMPLE.read_text())
    path = tmp_path / "sweeperd.toml"
    path.write_text(text)

    config = load_config(path)

    assert set(config.sweeps) == {"session_cleanup", "audit_log", "django", "finished_jobs"}
    tables = tomli.loads(text)
    written = {key for sweep in tables["sweeps"].values() for key in sweep}
    assert written == set(keys_of(SweepConfig))
    assert {*tables["daemon"]} == set(keys_of(DaemonConfig))


def test_the_defaults_in_the_sample_are_the_defaults() -> None:
    for line in SAMPLE.read_text().splitlines():
        found = re.match(r"# (\w+) = (\S+|\"[^\"]*\")(?= *(#|$))", line)
        model = SweepConfig.model_fields
        if found and found[1] in {"batch_target", "catch_up", "jitter", "lock_timeout", "workers"}:
            default = model[found[1]].default
            probe = {
                "name": "x",
                "database": "d",
                "table": "t",
                found[1]: tomli.loads(f"a={found[2]}")["a"],
            }
            assert getattr(SweepConfig.model_validate(probe), found[1]) == default


def test_every_key_is_documented() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()

    for model in TABLES.values():
        for key in keys_of(model):
            assert f"`{key}`" in text, key
