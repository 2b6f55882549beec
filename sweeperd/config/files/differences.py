"""What differs between two configurations, sweep by sweep and key by key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

from sweeperd.config.files.render import written
from sweeperd.config.models import Config

Change = Literal["added", "removed", "changed", "unchanged"]


@dataclass(frozen=True)
class KeyChange:
    """One key with another value.

    Attributes:
        key: Its name; ``database.KEY`` for one of the sweep's database.
        former: The value in force, as TOML; None where there is none. A secret is hidden.
        new: The new value, likewise.
    """

    key: str
    former: str | None
    new: str | None


@dataclass(frozen=True)
class SweepChange:
    """What a new configuration changes of one sweep.

    Attributes:
        change: added, removed, changed or unchanged.
        keys: What differs; empty unless it is changed.
    """

    change: Change
    keys: tuple[KeyChange, ...] = ()


def differences(former: Config, new: Config) -> dict[str, SweepChange]:
    """Return what a new configuration changes, by sweep: those of both; no value is a secret."""
    found: dict[str, SweepChange] = {}
    for name, sweep in new.sweeps.items():
        known = former.sweeps.get(name)
        if known is None:
            found[name] = SweepChange("added")
            continue
        keys = (
            *_changed(known, sweep),
            *_changed(former.databases[known.database], new.databases[sweep.database], "database."),
        )
        found[name] = SweepChange("changed" if keys else "unchanged", keys)
    gone = [name for name in former.sweeps if name not in new.sweeps]
    return found | dict.fromkeys(gone, SweepChange("removed"))


def _changed(former: BaseModel, new: BaseModel, prefix: str = "") -> tuple[KeyChange, ...]:
    old, now = written(former), written(new)
    return tuple(
        KeyChange(f"{prefix}{key}", old.get(key), now.get(key))
        for key in type(new).model_fields
        if key != "name" and getattr(former, key) != getattr(new, key)
    )
