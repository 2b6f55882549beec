"""`sweeperd reload`: the daemon reads its configuration again, and says whether it is in force."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from sweeperd.cli.daemon_place import find_socket
from sweeperd.cli.options import config_option, meant_config
from sweeperd.cli.terminal import say
from sweeperd.daemon.control.client import RefusedError, ask
from sweeperd.daemon.control.messages import ControlRequest
from sweeperd.errors import ConfigError, Problem

# other reloads may go before, and a configuration may have thousands of sweeps
_LONGEST_SECONDS: Final = 60.0
_MOST_NAMES: Final = 10


@click.command(epilog="Example: sweeperd reload")
@config_option
@click.pass_context
def reload(context: click.Context, config_path: Path) -> None:
    """Let the daemon read its configuration again; return once it is in force.

    `systemctl reload sweeperd` runs this. A configuration that the daemon rejects ends with exit
    code 78 and every problem with its file and line; the one before stays in force.
    """
    request = ControlRequest("reload", config=meant_config(context))
    try:
        result = ask(find_socket(config_path), request, seconds=_LONGEST_SECONDS)
    except RefusedError as error:
        problems = error.answer.get("problems")
        if error.code != "rejected" or not isinstance(problems, list):
            raise
        stays = "the configuration is rejected; the one before stays in force"
        raise ConfigError(tuple(Problem("", "", str(one)) for one in (*problems, stays))) from None
    parts = [
        f"{kind} {_few(names)}"
        for kind in ("added", "changed", "removed")
        if isinstance(names := result.get(kind), list) and names
    ]
    say(f"the configuration is in force: {'; '.join(parts) or 'no sweep changed'}")
    if isinstance(keys := result.get("needs_restart"), list) and keys:
        say(f"only a restart changes {', '.join(map(str, keys))}", err=True)


def _few(names: list[object]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(map(str, names[:_MOST_NAMES])) + more
