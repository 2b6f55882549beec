"""Options that several commands share."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sweeperd.cli.terminal import safe
from sweeperd.config.places import DEFAULT_CONFIG
from sweeperd.daemon.control.messages import CORRELATION_ID

if TYPE_CHECKING:
    from sweeperd.config.models import Config, SweepConfig

config_option = click.option(
    "-c",
    "--config",
    "config_path",
    # a file that cannot be read is a fault of the configuration (78), not of the usage
    type=click.Path(path_type=Path, readable=False),
    default=DEFAULT_CONFIG,
    show_default=True,
    envvar="SWEEPERD_CONFIG",
    help="The configuration; conf.d/*.toml beside it is read, too.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


def meant_config(context: click.Context) -> str | None:
    """Return the configuration that the operator named, for the daemon to compare; else None."""
    if context.get_parameter_source("config_path") == click.core.ParameterSource.DEFAULT:
        return None
    return str(Path(context.params["config_path"]).absolute())


class CorrelationId(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic since click 8.3
    """A run's id: 1 to 64 of letters, digits, dot, underscore and hyphen."""

    name = "id"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Check the id."""
        if not CORRELATION_ID.fullmatch(str(value)):
            self.fail(f"{value!r} is not 1 to 64 of A-Z a-z 0-9 . _ -", param, ctx)
        return str(value)


def unknown_sweep(name: str, known: Iterable[str]) -> click.UsageError:
    """Return the complaint about a name, with the nearest known one, or all of them."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f": did you mean {near[0]}?" if near else f": there is {', '.join(names)}"
    return click.UsageError(f"no sweep is called {safe(name)}{hint if names else ''}")


def chosen(config: Config, names: tuple[str, ...]) -> list[SweepConfig]:
    """Return the sweeps named, or all enabled ones.

    Raises:
        click.UsageError: A name is not in the configuration.
    """
    for name in names:
        if name not in config.sweeps:
            raise unknown_sweep(name, config.sweeps)
    if names:
        return [config.sweeps[name] for name in dict.fromkeys(names)]
    return [sweep for sweep in config.sweeps.values() if sweep.enabled]
