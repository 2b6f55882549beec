"""The hours in which a sweep may run, in a time zone of its own.

Every answer is found on the line of UTC instants, so both changes of the clock are right: a
local hour that comes twice counts twice, and one that never comes is stepped over.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import Final, Self
from zoneinfo import ZoneInfo

from sweeperd.config.values.schedules import is_cron
from sweeperd.config.values.wording import shown

_TEXT: Final = re.compile(
    r"(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})(?:\s+([A-Za-z0-9_+/-]+))?", re.ASCII
)
_DAY: Final = timedelta(days=1)
# a zone may skip a whole day (Samoa, 2011-12-30), so look further than tomorrow
_DAYS_AHEAD: Final = 4


@cache
def find_zone(name: str) -> ZoneInfo:
    """Return the time zone of that IANA name.

    Raises:
        ValueError: There is none, or the name is no name of one.
    """
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(
            f'{shown(name)} is not a time zone; write an IANA name such as "UTC" or "Europe/Berlin"'
        ) from None


@dataclass(frozen=True)
class Window:
    """From ``start`` until before ``end`` of every day, local time of ``zone``.

    Attributes:
        start: First minute inside.
        end: First minute outside again; before ``start`` it is the next day's.
        zone: IANA name of the time zone.
        text: What the operator wrote; no part of equality.
    """

    start: time
    end: time
    zone: str = "UTC"
    text: str = field(default="", compare=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``01:00-05:00 Europe/Berlin``; UTC without a zone; ``24:00`` may be the end.

        Raises:
            ValueError: It is not such a window; the text says what to write instead.
        """
        found = _TEXT.fullmatch(text.strip())
        if found is None and is_cron(text):
            raise ValueError(
                f"{shown(text)} is a cron expression; a window is two times of day: write "
                'interval = "1d" and window = "03:00-03:30" to run daily at 03:00'
            )
        if found is None:
            raise ValueError(f'{shown(text)} is not a window; write "01:00-05:00 Europe/Berlin"')
        start_hour, start_minute, end_hour, end_minute = (int(part) for part in found.groups()[:4])
        if (end_hour, end_minute) == (24, 0):
            end_hour = 0
        try:
            start, end = time(start_hour, start_minute), time(end_hour, end_minute)
        except ValueError:
            raise ValueError(
                f"{shown(text)} has an impossible time; hours go to 23 and minutes to 59"
            ) from None
        if start == end and (start, int(found.group(3))) != (time(0), 24):
            raise ValueError(
                f"{shown(text)} starts and ends at the same minute; leave the window out to run"
                " at any time"
            )
        zone = found.group(5) or "UTC"
        find_zone(zone)
        return cls(start, end, zone, " ".join(text.split()))

    def __str__(self) -> str:
        return self.text or f"{self.start:%H:%M}-{self.end:%H:%M} {self.zone}"

    def contains(self, at: datetime) -> bool:
        """Return whether the instant lies inside.

        Args:
            at: An aware datetime.
        """
        local = at.astimezone(find_zone(self.zone)).time()
        if self.start < self.end:
            return self.start <= local < self.end
        return local >= self.start or local < self.end

    def next_open(self, at: datetime) -> datetime:
        """Return the first instant from ``at`` on that lies inside, UTC.

        It is ``at`` itself when that is inside.
        """
        return self._first(at, inside=True)

    def closes(self, at: datetime) -> datetime:
        """Return the first instant from ``at`` on that lies outside, UTC.

        It is ``at`` itself when that is outside. A window of the whole day never closes: the
        answer is ``datetime.max`` in UTC.
        """
        if self.start == self.end:
            return datetime.max.replace(tzinfo=UTC)
        return self._first(at, inside=False)

    def _first(self, at: datetime, *, inside: bool) -> datetime:
        """Return the first instant from ``at`` on whose ``contains`` is ``inside``.

        The answer changes only where the local time passes ``start`` or ``end``, or where the
        zone's offset changes: those are the candidates.
        """
        at = at.astimezone(UTC)
        if self.contains(at) is inside:
            return at
        for moment in sorted(self._edges(at)):
            if moment > at and self.contains(moment) is inside:
                return moment
        raise AssertionError(f"no edge of {self} after {at}")  # pragma: no cover

    def _edges(self, at: datetime) -> set[datetime]:
        zone = find_zone(self.zone)
        today = at.astimezone(zone).date()
        edges: set[datetime] = set()
        for days in range(-1, _DAYS_AHEAD):
            day = today + timedelta(days=days)
            for clock in (self.start, self.end):
                edges |= {_instant(day, clock, zone, fold) for fold in (0, 1)}
            shift = _offset_change(datetime.combine(day, time(0), UTC), zone)
            if shift is not None:
                edges.add(shift)
        return edges


def _instant(day: date, clock: time, zone: ZoneInfo, fold: int) -> datetime:
    return datetime.combine(day, clock, zone).replace(fold=fold).astimezone(UTC)


def _offset_change(start: datetime, zone: ZoneInfo) -> datetime | None:
    """Return the instant of the day from ``start`` at which the zone's offset changes, if any.

    Offsets change on whole seconds, so halving finds it exactly.
    """
    low, high = 0, int(_DAY.total_seconds())

    def offset(seconds: int) -> timedelta | None:
        return (start + timedelta(seconds=seconds)).astimezone(zone).utcoffset()

    before = offset(low)
    if offset(high) == before:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if offset(middle) == before:
            low = middle
        else:
            high = middle
    return start + timedelta(seconds=high)
