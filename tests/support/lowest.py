"""Prints the lowest version of each dependency that pyproject.toml admits."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


def lowest() -> list[str]:
    """Return pip's requirements, each pinned to its lower bound."""
    project = tomllib.loads(PROJECT.read_text())["project"]
    found = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    return [re.sub(r">=\s*", "==", requirement) for requirement in found]


if __name__ == "__main__":
    print("\n".join(lowest()))  # noqa: T201
