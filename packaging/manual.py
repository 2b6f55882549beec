"""Write the man pages and completions, from the commands' own help and the documentation.

Usage: manual.py TREE DESTINATION, with a Python that can import sweeperd; needs lowdown.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from sweeperd import __version__
from sweeperd.cli.commands import cli

_ENDING = """
# EXIT STATUS

0
: all is well

1
: a sweep failed, or a check found an error

2
: usage

3
: the daemon does not run

69
: the database is unreachable or refuses the login

78
: the configuration

# FILES

/etc/sweeperd/sweeperd.toml, /etc/sweeperd/conf.d/\\*.toml
: the configuration

/etc/sweeperd/credentials/NAME
: a password, read by root as the service starts: password_credential = "db_NAME"

/var/lib/sweeperd
: state, holds, and archives of archive_to = "file:..."

# SEE ALSO

sweeperd.toml(5), journalctl(1), systemctl(1)
"""


def commands_page() -> str:
    """Return sweeperd(8) as Markdown."""
    lines = ["# NAME", "", "sweeperd - row-level TTL for PostgreSQL", "", "# SYNOPSIS", ""]
    lines += [f"sweeperd {name} [OPTIONS] ...\n" for name in cli.commands]
    lines += ["# DESCRIPTION", "", _plain(cli.help or ""), "", "# COMMANDS", ""]
    for name, command in cli.commands.items():
        context = click.Context(command, info_name=f"sweeperd {name}")
        lines += [f"## {name}", "", _block(command.get_help(context)), ""]
    return "\n".join([*lines, _ENDING])


def configuration_page(tree: Path) -> str:
    """Return sweeperd.toml(5) as Markdown: the documentation, as a manual page."""
    text = (tree / "docs" / "configuration.md").read_text()
    body = re.sub(r"\A# .*\n", "", text)
    body = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", body)
    body = re.sub(r"(?m)^##? ", "# ", body)
    name = "# NAME\n\nsweeperd.toml - configuration of sweeperd\n\n"
    return f"{name}{body}\n# SEE ALSO\n\nsweeperd(8)\n"


def completion(shell: str) -> str:
    """Return the completion script of one shell."""
    found = get_completion_class(shell)
    if found is None:
        raise SystemExit(f"click knows no completion for {shell}")
    return found(cli, {}, "sweeperd", "_SWEEPERD_COMPLETE").source()


def _plain(text: str) -> str:
    return re.sub(r"\x08\n", "", text).split("Example:")[0].strip()


def _block(text: str) -> str:
    return "```\n" + text.replace("\x08\n", "") + "\n```"


def _write_page(markdown: str, path: Path) -> None:
    title, section = path.stem, path.suffix[1:]
    named = {"title": title, "section": section, "source": f"sweeperd {__version__}"}
    options = [part for key, value in named.items() for part in ("-M", f"{key}={value}")]
    made = subprocess.run(  # noqa: S603 - lowdown, with our own text
        ["lowdown", "-s", "-tman", *options],  # noqa: S607 - wherever it is installed
        input=markdown,
        capture_output=True,
        text=True,
        check=True,
    )
    path.write_text(made.stdout)


def main() -> None:
    """Write all of them."""
    tree, destination = Path(sys.argv[1]), Path(sys.argv[2])
    destination.mkdir(parents=True, exist_ok=True)
    _write_page(commands_page(), destination / "sweeperd.8")
    _write_page(configuration_page(tree), destination / "sweeperd.toml.5")
    for shell in ("bash", "zsh", "fish"):
        (destination / f"sweeperd.{shell}").write_text(completion(shell))


main()
