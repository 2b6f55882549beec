"""What holds a sweep: doubts about clocks, history and data that only a person can settle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from statistics import median
from typing import Any, Final

from sweeperd.config.models import SweepConfig
from sweeperd.sweep.survey.instants import from_micros

# Between these a number is believable as the time of a living application's row.
_PLAUSIBLE_FROM: Final = datetime(1990, 1, 1, tzinfo=UTC).timestamp()
_PLAUSIBLE_TO: Final = datetime(2200, 1, 1, tzinfo=UTC).timestamp()
# A value that is a believable time only in another unit proves a wrong unit.
_OTHER_FROM: Final = datetime(2000, 1, 1, tzinfo=UTC).timestamp()
_OTHER_TO: Final = datetime(2100, 1, 1, tzinfo=UTC).timestamp()
_PER_SECOND: Final = {"epoch_s": 1, "epoch_ms": 1_000, "epoch_us": 1_000_000}
# A jump is judged by the median of that many drained runs, and only if it is worth a person's look.
_USUAL_RUNS: Final = 10
_KNOWN_RUNS: Final = 3
_JUMP: Final = 10
_LEAST_JUMP: Final = 0.1
_RESTORED: Final = "it was restored to an earlier state"
_SENTINEL_ENDS: Final = frozenset({2**15 - 1, 2**31 - 1, 2**63 - 1})


@dataclass(frozen=True)
class Facts:
    """What one run saw of the world, to compare the next run with.

    Attributes:
        fingerprint: Of table, column, unit, zone, keep, where and condition.
        cutoff: Microseconds since 2000-01-01 UTC.
        elapsed: Boot-time clock at the cutoff, seconds.
        boot: Identity of the boot that ``elapsed`` counts from.
        system_identifier: None when the role may not read it.
        timeline: None when it cannot be read.
        wal: WAL position in bytes; None on a standby or when it cannot be read.
        oid: The table's.
        next_xid: The first transaction id that was not yet assigned; None on a standby.
        committed_xid: Of the newest batch that committed. A server whose next id is not above
            it has lost that batch, however much WAL it has written since.
    """

    fingerprint: str
    cutoff: int
    elapsed: float
    boot: str | None
    system_identifier: int | None
    timeline: str | None
    wal: int | None
    oid: int
    next_xid: int | None = None
    committed_xid: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Return JSON-able fields."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any] | None) -> Facts | None:
        """Read facts back; None when there are none or of another version."""
        try:
            return cls(**stored) if stored else None
        except TypeError:
            return None


def fingerprint(sweep: SweepConfig, unit: str, column_type: str) -> str:
    """Return a hash of what decides which rows go; ``unit`` is the one in force."""
    keep = sweep.keep.total_seconds() if sweep.keep is not None else None
    decides = [
        sweep.table, sweep.column, unit, column_type, sweep.column_timezone,
        keep, sweep.where, sweep.condition,
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:16]


def clock_hold(
    cutoff: datetime, host: tuple[datetime, datetime], max_skew: timedelta
) -> str | None:
    """Compare the database's clock with the midpoint of the host's around the reading."""
    before, after = host
    uncertain = (after - before) / 2
    skew = cutoff - (before + uncertain)
    if abs(skew) - uncertain <= max_skew:
        return None
    direction = "ahead of" if skew > timedelta() else "behind"
    return (
        f"the database's clock is {abs(skew).total_seconds():.0f} s {direction} this host's, "
        f"more than max_clock_skew ({max_skew.total_seconds():.0f} s)"
    )


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


def wrong_unit(unit: str, values: Sequence[Any]) -> str | None:
    """Return why sampled numbers are not times in the unit; None when they can be.

    A number that is a believable time only in another unit stops at once, for it may be a
    live row; numbers that are no time in any unit stop when they are the most.
    """
    if unit not in _PER_SECOND:
        return None
    scale = _PER_SECOND[unit]
    numbers = [float(v) for v in values if _is_number(v)]
    odd = [n for n in numbers if not _PLAUSIBLE_FROM <= n / scale < _PLAUSIBLE_TO]
    for other, other_scale in _PER_SECOND.items():
        alien = [
            n for n in odd if _OTHER_FROM <= n / other_scale < _OTHER_TO and other_scale < scale
        ]
        far = [n for n in odd if _OTHER_FROM <= n / other_scale < _OTHER_TO and other_scale > scale]
        if alien or len(far) * 2 > len(numbers):
            example = (alien or far)[0]
            return (
                f'values such as {example:.0f} are no times as unit = "{unit}"; '
                f'they are as unit = "{other}"'
            )
    if numbers and len(odd) * 2 > len(numbers):
        return f'values such as {odd[0]:.0f} are not plausible as times in unit = "{unit}"'
    return None


def _is_number(value: Any) -> bool:  # noqa: ANN401 - any sampled value
    """Whether a value can be a time at all: sentinels are left out."""
    if not isinstance(value, int | float | Decimal) or value != value:  # noqa: PLR0124 - NaN
        return False
    return 0 < value < Decimal("Infinity") and value not in _SENTINEL_ENDS
