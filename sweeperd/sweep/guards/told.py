"""What the log and commands say of a hold: why, since when, by whom, and what ends it."""

from __future__ import annotations

from sweeperd.sweep.guards.decide import GUARD_KEYS
from sweeperd.sweep.guards.hold_file import ALL, Hold


def hold_fields(hold: Hold) -> dict[str, str | None]:
    """Return a hold as fields of the event sweep_held."""
    keys = [key for kind in hold.kinds if (key := GUARD_KEYS.get(kind)) is not None]
    return {
        "reason": hold.reason or "no reason was given",
        "by": hold.by or None,
        "since": hold.since.isoformat(timespec="seconds") if hold.since else None,
        "until": hold.until.isoformat(timespec="seconds") if hold.until else None,
        "key": ", ".join(dict.fromkeys(keys)) or None,
        "release": release_command(hold),
    }


def release_command(hold: Hold) -> str:
    """Return the command that removes a hold."""
    return f"sweeperd release {'--all' if hold.name == ALL else hold.name}"


def hold_sentence(hold: Hold) -> str:
    """Return a hold as one sentence: why, since when, by whom, and the command that ends it."""
    fields = hold_fields(hold)
    parts = [f"{fields['reason']}"]
    parts += [f"set by {fields['by']}"] if fields["by"] else []
    parts += [f"since {fields['since']}"] if fields["since"] else []
    parts += [f"until {fields['until']}"] if fields["until"] else []
    parts += [f"tuned by the key {fields['key']}"] if fields["key"] else []
    return f"held: {', '.join(parts)}; to release it: {fields['release']}"
