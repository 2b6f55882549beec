"""Schedules and lengths as other tools write them, and what to write instead here."""

from __future__ import annotations

import re
from typing import Final

# each field has its own place and a bounded text, so that matching is linear
_CRON_FIELD: Final = re.compile(r"(?:[0-9*?/,#LW-]|[A-Za-z]{3})+", re.ASCII)
_CRON_FIELDS: Final = (5, 6, 7)
_LONGEST: Final = 200
_NUMBER: Final = re.compile(r"[0-9]{1,2}", re.ASCII)
_UNITS: Final = {"second": "s", "minute": "min", "hour": "h", "day": "d", "week": "w"}
_LONG_UNIT: Final = re.compile(r"\s?(second|minute|hour|day|week)s?\b", re.IGNORECASE | re.ASCII)
_ISO: Final = re.compile(
    r"P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?"
    r"(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?",
    re.ASCII | re.IGNORECASE,
)
_ISO_UNITS: Final = ("y", "mo", "w", "d", "h", "min", "s")
_CALENDAR: Final = re.compile(r"\s*[0-9*/,~]+-[0-9*/,~]+-[0-9*/,~]+(?:\s.*)?", re.ASCII)
_TIME_OF_DAY: Final = re.compile(r"\s*(\d{1,4}):(\d\d)(?::(\d\d))?\s*", re.ASCII)
_NAMED: Final = {
    "minutely": "1min",
    "hourly": "1h",
    "daily": "1d",
    "midnight": "1d",
    "weekly": "7d",
    "monthly": "30d",
    "annually": "365d",
    "yearly": "365d",
}


def meant_duration(text: str) -> str | None:
    """Return what a text means to another tool, and what to write; None if nothing is known."""
    words = text.lower().split()
    if len(text) > _LONGEST or not words:
        return None
    name = words[0].removeprefix("@")
    if len(words) == 1 and name in _NAMED:
        return f'names a schedule; intervals are durations: write "{_NAMED[name]}"'
    if is_cron(text):
        return f"is a cron expression; intervals are durations: {_in_place_of_cron(words)}"
    if _CALENDAR.fullmatch(text):
        return (
            "is a calendar event; intervals are durations: to run daily at 03:00 write "
            'interval = "1d" and window = "03:00-03:30"'
        )
    if name == "every" or words[-1] == "ago":
        rest = text.strip().split(None, 1)[-1] if name == "every" else text.strip()[:-3].strip()
        return f'has a word that is not needed; write the length alone: "{_short(rest)}"'
    return _iso(text.strip()) or _clock(text)


def is_cron(text: str) -> bool:
    """Whether a text is a cron expression: five fields or more, of which one is not a word."""
    fields = text.split() if len(text) <= _LONGEST else []
    return (
        len(fields) in _CRON_FIELDS
        and all(_CRON_FIELD.fullmatch(one) for one in fields)
        and all(any(c in "*?" or c.isdigit() for c in one) for one in fields[:4])
    )


def _in_place_of_cron(fields: list[str]) -> str:
    minute, hour = fields[:2] if len(fields) == _CRON_FIELDS[0] else fields[1:3]
    step = re.fullmatch(r"\*/(\d{1,2})", minute)
    if step and hour == "*":
        return f'write interval = "{int(step[1])}min"'
    if hour == "*" and _NUMBER.fullmatch(minute):
        return 'write interval = "1h"'
    step = re.fullmatch(r"\*/(\d{1,2})", hour)
    if step:
        return f'write interval = "{int(step[1])}h"'
    start = (int(hour), int(minute)) if hour.isdigit() and minute.isdigit() else (3, 0)
    if start[0] > 23 or start[1] > 59:  # noqa: PLR2004 - hours and minutes of a day
        start = (3, 0)
    end = (start[0] * 60 + start[1] + 30) % 1440
    opens, closes = f"{start[0]:02}:{start[1]:02}", f"{end // 60:02}:{end % 60:02}"
    return (
        f'to run daily at {opens} write interval = "1d" and window = "{opens}-{closes}" '
        "(add a time zone behind it; UTC without)"
    )


def _short(text: str) -> str:
    """Write the units of a length as they are written here."""
    return _LONG_UNIT.sub(lambda found: _UNITS[found[1].lower()], text)


def _iso(text: str) -> str | None:
    found = _ISO.fullmatch(text)
    if found is None or not any(found.groups()):
        return None
    parts = [f"{n}{unit}" for n, unit in zip(found.groups(), _ISO_UNITS, strict=True) if n]
    if found[1] or found[2]:
        return "is an ISO 8601 duration with years or months, of no fixed length; write days"
    return f'is an ISO 8601 duration; write "{" ".join(parts)}"'


def _clock(text: str) -> str | None:
    found = _TIME_OF_DAY.fullmatch(text)
    if found is None:
        return None
    numbers = zip(found.groups(), ("h", "min", "s"), strict=True)
    length = " ".join(f"{int(n)}{unit}" for n, unit in numbers if n and int(n)) or "0s"
    return (
        f'is written as a time of day; for the length write "{length}", for the hours in which '
        'runs start write window = "03:00-03:30"'
    )
