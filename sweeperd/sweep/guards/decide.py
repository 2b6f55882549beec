"""What only a person can settle before a run: the reasons to hold it, by kind."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sweeperd.config.models import DatabaseConfig, SweepConfig
from sweeperd.sweep.guards.holds import fraction_hold, history_holds, jump_hold
from sweeperd.sweep.outcome.facts import Facts
from sweeperd.sweep.outcome.memory import SweepMemory
from sweeperd.sweep.survey.survey import Survey

HoldReasons = dict[str, str]

# each kind of reason with the key that tunes its guard, where there is one
GUARD_KEYS: Final[dict[str, str | None]] = {
    "clock": "max_clock_skew",
    "cutoff": "max_clock_skew",
    "elapsed": "max_clock_skew",
    "fraction": "max_fraction",
    "jump": "max_jump",
    "oid": None,
    "state": None,
    "survivors": None,
    "system": None,
    "wal": None,
    "xid": None,
    "zone": "column_timezone",
}


def find_holds(
    sweep: SweepConfig, database: DatabaseConfig, found: Survey, memory: SweepMemory
) -> HoldReasons:
    """Return why a run must be held, by kind; nothing when it may go."""
    reasons = {
        "clock": found.clock_hold,
        "zone": found.zone_hold,
        **history_holds(found.facts, memory.facts, database.max_clock_skew),
        "survivors": _survivors(found, memory.facts),
        "fraction": fraction_hold(found.expired.share, sweep.max_fraction),
        "jump": jump_hold(found.expired, found.server.cutoff, memory.usual_load, _most(sweep)),
    }
    return {kind: reason for kind, reason in reasons.items() if reason is not None}


def unreleased(found: HoldReasons, released: Collection[str]) -> HoldReasons:
    """Return the reasons that a release does not override: those that its hold did not name."""
    return {kind: why for kind, why in found.items() if kind not in released}


def _most(sweep: SweepConfig) -> float | None:
    return None if sweep.max_jump == "off" else sweep.max_jump


def _survivors(found: Survey, last: Facts | None) -> str | None:
    """Return the reason to hold a sweep without history of which nothing would survive."""
    known = last is not None and last.fingerprint == found.facts.fingerprint
    if known or found.survivors or not found.sampled:
        return None
    since = "no earlier run is known" if last is None else "its settings have changed"
    return (
        f"none of {found.sampled} sampled rows of {found.root.shown} would survive "
        f"a cutoff of {found.cutoff:%Y-%m-%d %H:%M:%S} UTC, and {since}"
    )
