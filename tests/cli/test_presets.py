"""`sweeperd presets`: the list, one explained, and the page of the manual."""

from __future__ import annotations

import json
import re
from pathlib import Path

import tomli

from sweeperd.config.files.loading import load_config
from sweeperd.config.presets.preset import presets
from tests.cli.command import sweeperd

PAGE = Path(__file__).resolve().parents[2] / "docs" / "presets.md"


async def test_the_page_of_the_manual_is_what_the_files_say() -> None:
    result = await sweeperd("presets", "--markdown")

    assert result.out == PAGE.read_text(), "run: make docs"


async def test_each_preset_is_listed() -> None:
    result = await sweeperd("presets")

    assert [line.split()[0] for line in result.out.splitlines()] == list(presets())


async def test_one_is_explained_with_rule_source_and_what_must_be_written() -> None:
    result = await sweeperd("presets", "connect-pg-simple")

    assert "index.js, pruneSessions" in result.out
    assert "to write  column_timezone" in result.out
    assert "expire < (now() AT TIME ZONE :zone)" in result.out


async def test_what_one_stands_for_is_a_sweep(tmp_path: Path) -> None:
    for name in ("django-sessions", "spring-sessions"):
        result = await sweeperd("presets", name)
        shown = result.out.partition("It stands for:\n")[2].replace("NAME", "s")
        path = tmp_path / "sweeperd.toml"
        path.write_text('[databases.app]\ndsn = "postgresql:///d"\n' + shown)

        sweep = load_config(path).sweeps["s"]

        assert (sweep.table, sweep.keep) == (presets()[name].table, presets()[name].keep)


async def test_json_has_every_field() -> None:
    result = await sweeperd("presets", "--json", "laravel-sessions")

    (found,) = json.loads(result.out)
    assert found["needs"] == ["keep"]
    assert found["default_keep"] == "2h"
    assert found["columns"]["last_activity"] == "integer | bigint"


async def test_an_unknown_name_is_a_usage_error() -> None:
    result = await sweeperd("presets", "django-session")

    assert result.code == 2
    assert "did you mean django-sessions?" in result.err


def test_files_have_names_of_their_own_and_parents_exist() -> None:
    directory = Path(__file__).resolve().parents[2] / "sweeperd" / "config" / "presets"
    names = [
        name
        for path in directory.glob("*.toml")
        for name in tomli.loads(path.read_text())["presets"]
    ]

    assert len(names) == len(set(names))
    for preset in presets().values():
        assert set(preset.parents) <= set(names)
        assert re.fullmatch(r"[a-z0-9-]+", preset.name)
