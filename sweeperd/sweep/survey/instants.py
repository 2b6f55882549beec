"""Instants as PostgreSQL stores them, and what a local wall clock can mean.

PostgreSQL keeps timestamps as whole microseconds and dates as whole days since 2000-01-01.
Using the same integers here keeps every value exact, years before 1 and after 9999 included.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_LOCAL_EPOCH = _EPOCH.replace(tzinfo=None)
_MICROSECOND = timedelta(microseconds=1)
# Longer than any jump a zone ever made (Samoa left out a whole day), shorter than the time
# between two of them.
_LOOK_AROUND = timedelta(hours=26)


def to_micros(at: datetime) -> int:
    """Return microseconds since 2000-01-01, of an aware instant or a local time."""
    return (at - (_EPOCH if at.tzinfo else _LOCAL_EPOCH)) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """Return the aware instant of microseconds since 2000-01-01 UTC."""
    return _EPOCH + micros * _MICROSECOND


def to_days(day: date) -> int:
    """Return days since 2000-01-01."""
    return (day - _EPOCH.date()).days


@dataclass(frozen=True)
class LocalBound:
    """The local times that are past, however they are read.

    Attributes:
        upper: The latest such local time.
        hole: An open interval below ``upper`` that may still lie ahead: local times that a
            clock put forward left out, read with the offset from before the jump.
    """

    upper: datetime
    hole: tuple[datetime, datetime] | None = None


def latest_reading(local: datetime, zone: ZoneInfo) -> datetime:
    """Return the latest instant (UTC) that a local time can mean in the zone."""
    return max(local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))


def local_bound(instant: datetime, zone: ZoneInfo) -> LocalBound:
    """Return the local times that are past at ``instant`` however they are read.

    While an hour that will be repeated runs for the first time, each of its readings may be
    the second one, so the bound stays just below the hour's start. After a clock was put
    forward, local times that never were are read with the old offset.
    """
    wall = _wall(instant, zone)
    ahead = latest_reading(wall, zone)
    if ahead > instant:
        change = _change_between(instant, ahead, zone)
        return LocalBound(_wall(change, zone) - _MICROSECOND)
    before = instant - _LOOK_AROUND
    old, new = _offset(before, zone), _offset(instant, zone)
    if new > old:
        change = _change_between(before, instant, zone)
        late, resumed = instant.replace(tzinfo=None) + old, _wall(change, zone)
        if late < resumed:
            return LocalBound(wall, (late, resumed))
    return LocalBound(wall)


def last_day_over(instant: datetime, zone: ZoneInfo) -> date:
    """Return the latest day whose closing midnight has passed at ``instant``."""
    day = _wall(instant, zone).date() + timedelta(days=1)
    while True:
        closing = datetime.combine(day + timedelta(days=1), datetime.min.time())
        if latest_reading(closing, zone) <= instant:
            return day
        day -= timedelta(days=1)


def _wall(instant: datetime, zone: ZoneInfo) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None)


def _offset(instant: datetime, zone: ZoneInfo) -> timedelta:
    return instant.astimezone(zone).utcoffset() or timedelta()


def _change_between(low: datetime, high: datetime, zone: ZoneInfo) -> datetime:
    """Return the first instant in (low, high] that has the offset of ``high``."""
    target = _offset(high, zone)
    while high - low > _MICROSECOND:
        middle = low + (high - low) // 2
        if _offset(middle, zone) == target:
            high = middle
        else:
            low = middle
    return high
