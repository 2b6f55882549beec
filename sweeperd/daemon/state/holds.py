"""Holds that the state directory asks for: an earlier version's, and those of damaged state."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from sweeperd.config.models import SweepConfig
from sweeperd.config.values.types import NAME
from sweeperd.daemon.state.found import StateUnreadableError, read_records
from sweeperd.daemon.state.record import Loaded, SweepRecord
from sweeperd.host.files import open_directory, read_small, write_small
from sweeperd.host.permissions import read_file
from sweeperd.sweep.guards.hold_file import ALL, BY_GUARD, HOLDS, Hold, Holds, policy_of

STATE_KIND: Final = "state"
_REQUESTS: Final = "requests"  # where an earlier version's commands left their wishes
_TAKEN_OVER: Final = ".taken-over"  # no hold can be called so
_LARGEST_MARKS: Final = 2**20
_LARGEST_REQUEST: Final = 65_536


def holds_of(
    state_dir: Path, now: Callable[[], datetime], record: Callable[[str], SweepRecord]
) -> Holds:
    """Return the holds of a state directory, with what its state tells of earlier names.

    Args:
        state_dir: The state directory.
        now: Returns the host's wall time, UTC.
        record: Returns a sweep's record; an empty one when it has no past.
    """
    return Holds(
        state_dir,
        now,
        has_history=lambda name: record(name).last_start is not None,
        known_policy=lambda name: record(name).policy,
    )


def read_holds(
    state_dir: Path, now: Callable[[], datetime], configured: Collection[str] | None
) -> tuple[Loaded, Holds]:
    """Read the state for a command, and return it with the holds; unreadable state is told in it.

    Args:
        state_dir: The state directory.
        now: Returns the host's wall time, UTC.
        configured: Names in the configuration; None where that cannot be read.
    """
    try:
        loaded = read_records(state_dir)
    except StateUnreadableError as error:
        loaded = Loaded(unusable=str(error))
    holds = holds_of(state_dir, now, lambda name: loaded.records.get(name, SweepRecord()))
    holds.configured = configured
    return loaded, holds


def put_in_force(holds: Holds, loaded: Loaded, sweeps: Mapping[str, SweepConfig]) -> None:
    """Make files of all holds that a state asks for.

    Args:
        holds: The holds of its directory.
        loaded: The state.
        sweeps: Those configured; each whose state cannot be read is held.
    """
    _take_over(holds, loaded)
    for hold in damage_holds(holds, loaded, sweeps).values():
        holds.place_or_keep(hold)


def _take_over(holds: Holds, loaded: Loaded) -> None:
    """Make files of the holds that an earlier version kept in its state, each one once.

    Which were taken over is noted once all of them are in force. So neither a crash nor state
    that can be read only later loses one, and one that was released does not come back.
    """
    wanted = [*_recorded(loaded, holds.now()), *_requested(holds.state_dir, holds.now())]
    if not wanted:
        return
    taken = _taken_over(holds.state_dir)
    new = {_mark(hold): hold for hold in wanted if _mark(hold) not in taken}
    failed = [holds.place_or_keep(hold) for hold in new.values()]
    if new and not any(failed):
        with suppress(OSError), open_directory(holds.state_dir / HOLDS) as directory:
            content = json.dumps(sorted(taken | new.keys())).encode()
            write_small(directory, _TAKEN_OVER, content)


def _recorded(loaded: Loaded, now: datetime) -> Iterator[Hold]:
    for name, record in loaded.records.items():
        if record.held is not None:
            by = BY_GUARD if record.held_by == "guard" else record.held_by or ""
            # what the guard had found is not known any more: the release passes all of it
            kinds = record.held_kinds if by == BY_GUARD else ()
            yield Hold(name, record.held, by=by, since=now, kinds=kinds, policy=record.policy)


def _requested(state_dir: Path, now: datetime) -> Iterator[Hold]:
    """Yield what waits where an earlier version's commands left it for the daemon."""
    directory = state_dir / _REQUESTS
    try:
        found = sorted(path.name for path in directory.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        reason = (
            f"{directory}, where an earlier version kept holds, cannot be read "
            f"({error.strerror}); remove it once you know what it holds"
        )
        yield Hold(ALL, reason, by=BY_GUARD, since=now, kinds=(STATE_KIND,))
        return
    for file in found:
        name, _, action = file.rpartition(".")
        if action == "hold" and NAME.fullmatch(name) is not None:
            reason = _request_reason(directory / file)
            yield Hold(name, f"held before the upgrade{reason}", since=now)


def _request_reason(path: Path) -> str:
    with suppress(OSError, ValueError, RecursionError):
        content = json.loads(read_file(path, _LARGEST_REQUEST))
        if isinstance(content, dict) and isinstance(content.get("reason"), str):
            return f": {content['reason']}" if content["reason"] else ""
    return ""


def _mark(hold: Hold) -> str:
    """Return what tells one earlier hold from another."""
    return hashlib.sha256(json.dumps([hold.name, hold.reason]).encode()).hexdigest()


def _taken_over(state_dir: Path) -> set[str]:
    """Return the marks of what was taken over before; without them it is taken over again."""
    try:
        with open_directory(state_dir / HOLDS) as directory:
            marks = json.loads(read_small(directory, _TAKEN_OVER, _LARGEST_MARKS))
    except (OSError, ValueError, RecursionError):
        return set()
    return {mark for mark in marks if isinstance(mark, str)} if isinstance(marks, list) else set()


def damage_holds(
    holds: Holds, loaded: Loaded, sweeps: Mapping[str, SweepConfig]
) -> dict[str, Hold]:
    """Return the holds that damaged state asks for, by the sweep's name: its guards would be blind.

    One that was released for that reason, and did not run since, is not held again.
    """
    reasons = {name: loaded.unusable or loaded.damaged.get(name) for name in sweeps}
    return {
        name: _damage_hold(holds, sweeps[name], why)
        for name, why in reasons.items()
        if why is not None and not _is_released(holds, name)
    }


def _is_released(holds: Holds, name: str) -> bool:
    released = holds.released(name)
    return released is not None and STATE_KIND in released.kinds


def _damage_hold(holds: Holds, sweep: SweepConfig, why: str) -> Hold:
    """Return the hold of a sweep whose state cannot be read."""
    return Hold(
        sweep.name,
        f"the state of earlier runs cannot be read: {why}",
        by=BY_GUARD,
        since=holds.now(),
        kinds=(STATE_KIND,),
        policy=policy_of(sweep),
    )
