"""What holds a sweep: clocks, history and data that only a person can settle."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from sweeperd.sweep.outcome.facts import Facts
from sweeperd.sweep.outcome.usual_load import Amount, UsualLoad
from sweeperd.sweep.survey.instants import from_micros

# A jump is judged once that many runs have drained the table. So much of a table may always
# expire: a first weekly load is no jump, nor is a row of a table of three.
_KNOWN_RUNS: Final = 3
_LEAST_SHARE: Final = 0.03
_LEAST_ROWS: Final = 10
_RESTORED: Final = "it was restored to an earlier state"


def history_holds(now: Facts, last: Facts | None, max_skew: timedelta) -> dict[str, str]:
    """Return the reasons to hold this run that the last run's facts give, by kind."""
    if last is None:
        return {}
    holds = {}
    skew = max_skew.total_seconds()
    moved = (now.cutoff - last.cutoff) / 1e6
    if moved < -skew:
        holds["cutoff"] = (
            f"the cutoff {from_micros(now.cutoff):%Y-%m-%d %H:%M:%S} UTC is {-moved:.0f} s "
            f"before the last run's: the database's clock went back"
        )
    elapsed = now.elapsed - last.elapsed
    if now.boot is not None and now.boot == last.boot and moved - elapsed > skew:
        holds["elapsed"] = (
            f"the database's clock moved {moved:.0f} s while {elapsed:.0f} s passed here"
        )
    return holds | _identity_holds(now, last)


def _identity_holds(now: Facts, last: Facts) -> dict[str, str]:
    holds = {}
    if (
        now.system_identifier
        and last.system_identifier
        and (now.system_identifier != last.system_identifier)
    ):
        holds["system"] = (
            f"this is another database system ({now.system_identifier}, was "
            f"{last.system_identifier}): a restore, or another server"
        )
    elif now.wal is not None and last.wal is not None and now.wal < last.wal:
        holds["wal"] = (
            f"the WAL position is {last.wal - now.wal} bytes behind the last one seen: {_RESTORED}"
        )
    elif now.next_xid and last.committed_xid and now.next_xid <= last.committed_xid:
        holds["xid"] = f"the last run's transactions are not in this database: {_RESTORED}"
    if now.oid != last.oid and now.fingerprint == last.fingerprint:
        holds["oid"] = f"the table is another one (OID {now.oid}, was {last.oid}): it was made anew"
    return holds


def fraction_hold(share: float, most: float | None) -> str | None:
    """Return a reason to hold when more of the table is expired than the operator allows."""
    if most is None or share <= most:
        return None
    return f"{share:.0%} of the sampled rows are expired, more than max_fraction ({most:.0%})"


def jump_hold(now: Amount, cutoff: int, past: UsualLoad | None, most: float | None) -> str | None:
    """Return a reason to hold when far more rows expired than usually do in that time.

    No more rows than usual are no jump, whatever their share: a table that nobody writes to at
    night ends with a few rows, all of them expired.

    Args:
        now: What is expired.
        cutoff: Of this run, microseconds since 2000-01-01 UTC.
        past: What earlier runs found; None when none has drained the table.
        most: How many times the usual is allowed; None for any.
    """
    if past is None or past.runs < _KNOWN_RUNS or most is None:
        return None
    expected = past.expected(cutoff)
    usual = max(expected.share, _LEAST_SHARE)
    few = now.rows is not None and now.rows <= max(expected.rows or 0.0, _LEAST_ROWS)
    if few or now.share <= usual * most:
        return None
    return (
        f"{now.share:.0%} of the sampled rows expired in the {_shown(cutoff - past.drained_at)} "
        f"since the last drained run, more than max_jump ({most:g}) times the usual {usual:.1%}"
    )


def _shown(micros: int) -> str:
    """Return a length of time in its largest unit."""
    seconds = max(micros, 0) / 1e6
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
