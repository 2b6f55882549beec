"""The command `sweeperd`: its group; each command is imported once it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import Final

import click

from sweeperd import __version__

# the module of each command; `sweeperd status` must not wait for what only `check` needs
_MODULES: Final = {
    "check": "check",
    "demo": "demo",
    "discover": "discover",
    "history": "history",
    "hold": "hold",
    "install": "install",
    "plan": "plan",
    "presets": "presets",
    "release": "hold",
    "reload": "reload",
    "run": "run",
    "status": "status",
    "sweep": "sweep",
    "uninstall": "install",
}


class _Commands(MutableMapping[str, click.Command]):
    """The commands by name."""

    def __init__(self) -> None:
        self._added: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._added:
            module = import_module(f"sweeperd.cli.{_MODULES[name]}")
            self._added[name] = getattr(module, name)
        return self._added[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._added[name] = command

    def __delitem__(self, name: str) -> None:
        del self._added[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**_MODULES, **self._added})

    def __len__(self) -> int:
        return len({**_MODULES, **self._added})


@click.group(commands=_Commands(), context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sweeperd")
def cli() -> None:
    """Row-level TTL for any PostgreSQL: remove expired rows, safely.

    \b
    Example:
      sweeperd check
      sweeperd sweep --dry-run
    """
