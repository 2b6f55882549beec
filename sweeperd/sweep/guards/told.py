"""What the log and commands say of a hold: why, since when, by whom, and what ends it."""

from __future__ import annotations

from sweeperd.log.events import SweepHeld
from sweeperd.sweep.guards.decide import GUARD_KEYS
from sweeperd.sweep.guards.hold_file import ALL, Hold


def hold_event(hold: Hold, sweep: str) -> SweepHeld:
    """Return the event that a hold keeps a sweep from running."""
    keys = [key for kind in hold.kinds if (key := GUARD_KEYS.get(kind)) is not None]
    return SweepHeld(
        sweep,
        reason=hold.reason or "no reason was given",
        by=hold.by or None,
        since=hold.since.isoformat(timespec="seconds") if hold.since else None,
        until=hold.until.isoformat(timespec="seconds") if hold.until else None,
        key=", ".join(dict.fromkeys(keys)) or None,
        release=release_command(hold),
    )


def release_command(hold: Hold) -> str:
    """Return the command that removes a hold."""
    return f"sweeperd release {'--all' if hold.name == ALL else hold.name}"


def hold_sentence(hold: Hold) -> str:
    """Return a hold as one sentence: why, since when, by whom, and the command that ends it."""
    held = hold_event(hold, hold.name)
    parts = [held.reason]
    parts += [f"set by {held.by}"] if held.by else []
    parts += [f"since {held.since}"] if held.since else []
    parts += [f"until {held.until}"] if held.until else []
    parts += [f"tuned by the key {held.key}"] if held.key else []
    return f"held: {', '.join(parts)}; to release it: {held.release}"
