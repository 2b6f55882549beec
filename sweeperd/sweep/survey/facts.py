"""What one run sees of the server and its settings, compared with what the last one saw."""

from __future__ import annotations

import hashlib
import json

from sweeperd.config.models import SweepConfig
from sweeperd.sweep.outcome.facts import Facts


def fingerprint(sweep: SweepConfig, unit: str, column_type: str) -> str:
    """Return a hash of what decides which rows go; ``unit`` is the one in force."""
    keep = sweep.keep.total_seconds() if sweep.keep is not None else None
    decides = [
        sweep.table, sweep.column, unit, column_type, sweep.column_timezone,
        keep, sweep.where, sweep.condition,
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:16]


def was_promoted(now: Facts, last: Facts | None) -> bool:
    """Whether a standby of the same system has taken over since the last run."""
    known = last is not None and now.timeline is not None and last.timeline is not None
    return bool(known and last and now.timeline != last.timeline)


def unguarded(now: Facts) -> list[str]:
    """Name what this role cannot read and so cannot be guarded."""
    names = []
    if now.system_identifier is None:
        names.append("system identifier: GRANT EXECUTE ON FUNCTION pg_control_system()")
    if now.wal is None:
        names.append("WAL position")
    return names
