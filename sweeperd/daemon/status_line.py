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
_WAITED_IN_VAIN: Final = frozenset({"throttled", "yielded"})
_LONGEST_REASON: Final = 120


def status_line(
    supervisors: Sequence[Supervisor],
    outages: Mapping[str, str],
    clock: Clock,
    disabled: Sequence[str] = (),
) -> str:
    """Return the line.

    Args:
        supervisors: Of the enabled sweeps.
        outages: Why databases are away, by name.
        clock: The present.
        disabled: Names of the sweeps that are not enabled.
    """
    throttled = {one.name: why for one in supervisors if (why := _waits_for_server(one))}
    running = [
        one.name for one in supervisors if one.state == "running" and one.name not in throttled
    ]
    held = {one.name: one.hold.reason for one in supervisors if one.hold and one.state == "held"}
    failed = {
        one.name: str(one.last_run.get("error") or one.last_run.get("end_reason") or "")
        for one in supervisors
        if one.state in {"waiting", "running"}
        and one.last_run is not None
        and one.last_run.get("outcome") in TROUBLES
    }
    kept = {one.name: why for one in supervisors if (why := one.obstacle)}
    behind = [one.name for one in supervisors if one.lag.behind]
    parts = [
        f"{len(supervisors)} sweep{'' if len(supervisors) == 1 else 's'}",
        f"sweeping {_few(running)}" if running else "",
        f"held {_with_reasons(held)}" if held else "",
        f"failed {_with_reasons(failed)}" if failed else "",
        f"throttled {_with_reasons(throttled)}" if throttled else "",
        f"behind {_few(behind)}" if behind else "",
        f"not deleting {_with_reasons(kept)}" if kept else "",
        f"disabled {_few(list(disabled))}" if disabled else "",
        f"waiting for database {_with_reasons(outages)}" if outages else "",
        _soonest(supervisors, clock),
    ]
    return "; ".join(part for part in parts if part)


def _waits_for_server(one: Supervisor) -> str | None:
    """Return why a run waits for the server or another instance, or why the last one gave up."""
    if one.state == "running" and one.throttled_by is not None:
        return one.throttled_by
    last = one.last_run
    if one.state not in {"waiting", "running"} or last is None:
        return None
    if last.get("outcome") not in _WAITED_IN_VAIN:
        return None
    return str(last.get("end_reason") or last.get("outcome"))


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
