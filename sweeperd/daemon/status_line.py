"""The line of `systemctl status`: what runs, what is held or failed and why, what is next."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sweeperd.daemon.status import TROUBLES
from sweeperd.log.safe_text import bounded, redact

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sweeperd.daemon.supervisor import Supervisor
    from sweeperd.host.clock import Clock

_NAMES_SHOWN: Final = 3
_LONGEST_REASON: Final = 120


def status_line(supervisors: Sequence[Supervisor], outages: Mapping[str, str], clock: Clock) -> str:
    """Return the line.

    Args:
        supervisors: Of the enabled sweeps.
        outages: Why databases are away, by name.
        clock: The present.
    """
    running = [one.name for one in supervisors if one.state == "running"]
    held = {one.name: one.hold.reason for one in supervisors if one.hold and one.state == "held"}
    failed = {
        one.name: str(one.last_run.get("error") or one.last_run.get("end_reason") or "")
        for one in supervisors
        if one.state in {"waiting", "running"}
        and one.last_run is not None
        and one.last_run.get("outcome") in TROUBLES
    }
    behind = [one.name for one in supervisors if one.lag.behind]
    parts = [
        f"{len(supervisors)} sweep{'' if len(supervisors) == 1 else 's'}",
        f"sweeping {_few(running)}" if running else "",
        f"held {_with_reasons(held)}" if held else "",
        f"failed {_with_reasons(failed)}" if failed else "",
        f"behind {_few(behind)}" if behind else "",
        f"waiting for database {_with_reasons(outages)}" if outages else "",
        _soonest(supervisors, clock),
    ]
    return "; ".join(part for part in parts if part)


def _soonest(supervisors: Sequence[Supervisor], clock: Clock) -> str:
    dues = [
        (found.elapsed, one.name)
        for one in supervisors
        if one.state == "waiting" and (found := one.next_start) is not None
    ]
    if not dues:
        return ""
    elapsed, name = min(dues)
    start = clock.now() + timedelta(seconds=max(elapsed - clock.elapsed(), 0.0))
    return f"next {name} at {start:%Y-%m-%d %H:%M} UTC"


def _few(names: list[str]) -> str:
    return _and_more(sorted(names)[:_NAMES_SHOWN], len(names))


def _with_reasons(reasons: Mapping[str, str]) -> str:
    """Return a few names, each with its reason in brackets."""
    shown = [
        f"{name} ({redact(bounded(reasons[name], _LONGEST_REASON))})" if reasons[name] else name
        for name in sorted(reasons)[:_NAMES_SHOWN]
    ]
    return _and_more(shown, len(reasons))


def _and_more(shown: list[str], count: int) -> str:
    more = count - len(shown)
    return f"{', '.join(shown)} and {more} more" if more > 0 else ", ".join(shown)
