"""The merged configuration as TOML, without secrets and with every default filled in."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final

from pydantic import BaseModel

from sweeperd.config.models import Config
from sweeperd.config.values.dsn import hide_password
from sweeperd.config.values.durations import format_duration
from sweeperd.config.values.secret_places import PLACES, place
from sweeperd.config.values.sizes import format_size
from sweeperd.config.values.window import Window
from sweeperd.config.values.wording import quoted

_SIZES: Final = frozenset({"max_replication_bytes", "max_slot_bytes"})


def render(config: Config) -> str:
    """Return the configuration as the daemon understands it; no password is in it."""
    tables = ["\n".join(("[daemon]", *_lines(config.daemon)))]
    for kind, models in (("databases", config.databases), ("sweeps", config.sweeps)):
        tables += ["\n".join((f"[{kind}.{name}]", *_lines(one))) for name, one in models.items()]
    return "\n\n".join(tables) + "\n"


def _lines(model: BaseModel) -> Iterator[str]:
    for key, text in written(model).items():
        yield f"{key} = {text}"


def written(model: BaseModel) -> dict[str, str]:
    """Return the values of a table that are set, by key, as TOML without secrets."""
    return dict(_pairs(model))


def _pairs(model: BaseModel) -> Iterator[tuple[str, str]]:
    for key in type(model).model_fields:
        value = getattr(model, key)
        if key == "name" or value is None or value == ():
            continue
        if key == "dsn":
            value = hide_password(value)
        elif key in PLACES:
            value = place(key, value)
        elif key in _SIZES:
            value = format_size(value)
        yield key, _value(value)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, timedelta):
        return quoted(format_duration(value))
    if isinstance(value, BaseModel):
        return "{ " + ", ".join(_lines(value)) + " }"
    if isinstance(value, tuple):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    if isinstance(value, str | Path | Window):
        return quoted(str(value))
    raise TypeError(f"no TOML for {type(value).__name__}")  # pragma: no cover
