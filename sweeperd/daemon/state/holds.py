"""Holds that the state directory asks for: an earlier version's, and those of damaged state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Final

from sweeperd.config.models import SweepConfig
from sweeperd.config.values.types import NAME
from sweeperd.daemon.state.record import Loaded
from sweeperd.sweep.guards.hold_file import BY_GUARD, Hold, Holds, policy_of

STATE_KIND: Final = "state"
_TAKEN_OVER: Final = ".taken-over"  # in the directory of holds
_REQUESTS: Final = "requests"  # where an earlier version's commands left their wishes


def take_over(holds: Holds, loaded: Loaded) -> None:
    """Make files of the holds that an earlier version kept in its state, once.

    That it was done is noted only after all of them are written: a crash repeats it.
    """
    former = [*_recorded(holds, loaded), *_requested(holds)]
    if not former or holds.has_note(_TAKEN_OVER):
        return
    if all([holds.place_or_keep(hold) is None for hold in former]):  # noqa: C419 - each is placed
        holds.write_note(_TAKEN_OVER)


def _recorded(holds: Holds, loaded: Loaded) -> Iterator[Hold]:
    """Yield the holds in the records; what the guards had found is passed by their release."""
    for name, record in loaded.records.items():
        if record.held is not None:
            by = BY_GUARD if record.held_by == "guard" else record.held_by or ""
            kinds = _former_kinds(record.memory) if by == BY_GUARD else ()
            yield Hold(name, record.held, by=by, since=holds.now(), kinds=kinds)


def _requested(holds: Holds) -> Iterator[Hold]:
    """Yield the holds that were asked for and not yet seen by a daemon."""
    with suppress(OSError):
        for path in sorted((holds.state_dir / _REQUESTS).iterdir()):
            name, _, action = path.name.rpartition(".")
            if action == "hold" and NAME.fullmatch(name) is not None:
                yield Hold(name, "held before the upgrade", since=holds.now())


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
