"""The documents say what the program does: each command, option and example is real."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from sweeperd.cli.commands import cli
from sweeperd.config.files.loading import load_config

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = dict(cli.commands.items())
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_is_in_the_readme_and_has_an_example(name: str) -> None:
    assert f"sweeperd {name}" in README
    text = COMMANDS[name].get_help(click.Context(COMMANDS[name], info_name=f"sweeperd {name}"))
    assert f"Example: sweeperd {name}" in " ".join(text.split())


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_each_command_and_option_that_a_document_names_exists(path: Path) -> None:
    for name, rest in re.findall(
        r"(?m)(?:`|^\$ |^)sweeperd ([a-z]+)\b([^`\n#]*)", path.read_text()
    ):
        if name in {"is", "reads", "needs"}:
            continue
        assert name in COMMANDS, f"{path.name}: sweeperd {name}"
        known = {option for one in COMMANDS[name].params for option in one.opts}
        for option in re.findall(r"--[a-z-]+", rest):
            assert option in known, f"{path.name}: sweeperd {name} {option}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_each_configuration_in_a_document_is_valid(path: Path, tmp_path: Path) -> None:
    for text in re.findall(r"(?s)```toml\n(.*?)```", path.read_text()):
        file = tmp_path / "sweeperd.toml"
        base = "" if "[databases" in text else '[databases.app]\ndsn = "postgresql://u@h/d"\n'
        file.write_text(base + text)
        load_config(file)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_each_link_between_documents_leads_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text()):
        if "://" not in link:
            assert (path.parent / link).exists(), f"{path.name}: {link}"


def test_each_make_target_is_real() -> None:
    targets = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text()))

    for path in DOCUMENTS:
        for target in re.findall(r"(?m)(?:`|^)make ([a-z-]+)\b", path.read_text()):
            assert target in targets, f"{path.name}: make {target}"
