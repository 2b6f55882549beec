"""Holds that the state directory asks for: an earlier version's, and those of damaged state."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from sweeperd.config.models import SweepConfig
from sweeperd.daemon.state.record import Loaded
from sweeperd.sweep.guards.hold_file import BY_GUARD, HOLDS, Hold, Holds, policy_of

STATE_KIND: Final = "state"
_REQUESTS: Final = "requests"  # where an earlier version's commands left their wishes


def take_over(holds: Holds, loaded: Loaded) -> None:
    """Make files of the holds that an earlier version kept in its state, once.

    Once there is a directory of holds, it alone counts.
    """
    if (holds.state_dir / HOLDS).exists():
        return
    for name, record in loaded.records.items():
        if record.held is not None:
            by = BY_GUARD if record.held_by == "guard" else record.held_by or ""
            # what the guard had found is not known any more: the release passes all of it
            kinds = _former_kinds(record.memory) if by == BY_GUARD else ()
            holds.place_or_keep(Hold(name, record.held, by=by, since=holds.now(), kinds=kinds))
    with suppress(OSError):
        for path in sorted((holds.state_dir / _REQUESTS).iterdir()):
            name, _, action = path.name.rpartition(".")
            if action == "hold" and not name.startswith("."):
                reason = "held before the upgrade"
                holds.place_or_keep(Hold(name, reason, since=holds.now()))


def hold_for_damage(holds: Holds, loaded: Loaded, sweeps: Mapping[str, SweepConfig]) -> None:
    """Hold each configured sweep whose state cannot be read: its guards would be blind."""
    for name, sweep in sweeps.items():
        why = loaded.unusable or loaded.damaged.get(name)
        if why is not None:
            holds.place_or_keep(damage_hold(holds, sweep, why))


def damage_hold(holds: Holds, sweep: SweepConfig, why: str) -> Hold:
    """Return the hold of a sweep whose state cannot be read."""
    return Hold(
        sweep.name,
        f"the state of earlier runs cannot be read: {why}",
        by=BY_GUARD,
        since=holds.now(),
        kinds=(STATE_KIND,),
        policy=policy_of(sweep),
    )


def _former_kinds(memory: Mapping[str, object]) -> tuple[str, ...]:
    kinds = memory.get("held_for")
    return tuple(str(kind) for kind in kinds) if isinstance(kinds, list) else ()
