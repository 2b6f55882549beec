"""What holds a sweep: doubts about clocks, history and data that only a person can settle."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from statistics import median
from typing import Any, Final

from sweeperd.sweep.survey.facts import Facts
from sweeperd.sweep.survey.instants import from_micros

# A jump is judged by the median of that many drained runs, and only if it is worth a person's look.
_USUAL_RUNS: Final = 10
_KNOWN_RUNS: Final = 3
_JUMP: Final = 10
_LEAST_JUMP: Final = 0.1
_RESTORED: Final = "it was restored to an earlier state"


def history_holds(now: Facts, last: Facts | None, max_skew: timedelta) -> dict[str, str]:
    """Return the doubts that the last run's facts raise about this one, by kind."""
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
    """Return the doubt that more of the table is expired than the operator allows."""
    if most is None or share <= most:
        return None
    return f"{share:.0%} of the sampled rows are expired, more than max_fraction ({most:.0%})"


def jump_hold(share: float, cutoff: int, past: Mapping[str, Any] | None) -> str | None:
    """Return the doubt that expired rows come far faster than they used to.

    Args:
        share: Expired share of the sampled rows.
        cutoff: Of this run, microseconds since 2000-01-01 UTC.
        past: What `note_drained` kept.
    """
    rates = list(past.get("rates", ())) if past else []
    if past is None or len(rates) < _KNOWN_RUNS or share < _LEAST_JUMP:
        return None
    usual, rate = median(rates), _rate(share, cutoff - int(past["drained_at"]))
    if rate <= usual * _JUMP:
        return None
    return (
        f"{share:.0%} of the sampled rows expired since the last drained run: {rate:.2%} an hour, "
        f"more than {_JUMP} times the usual {usual:.2%}"
    )


def note_drained(share: float, cutoff: int, past: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what the next run compares with, after a run that drained the table."""
    rates = list(past.get("rates", ())) if past else []
    if past is not None:
        rates.append(_rate(share, cutoff - int(past["drained_at"])))
    return {"drained_at": cutoff, "rates": rates[-_USUAL_RUNS:]}


def _rate(share: float, micros: int) -> float:
    """Return the share that expired per hour; a gap below a minute counts as one."""
    return share / (max(micros, 60_000_000) / 3_600_000_000)
