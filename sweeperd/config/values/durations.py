"""Durations as an operator writes them: systemd time spans without the ambiguous units.

Only fixed lengths exist (``ms s min h d w``): a month or a year has no one length, and ``m``
means minutes to systemd but months to many readers.
"""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from typing import Final

from sweeperd.config.values.schedules import meant_duration
from sweeperd.config.values.wording import blaming

LONGEST: Final = timedelta(days=365_250)
EXAMPLES: Final = 'such as "30s", "15min", "6h" or "90d"'

_MICROSECONDS: Final = {
    "ms": 1_000,
    "s": 1_000_000,
    "min": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}
_PART: Final = re.compile(r"\s*(\d{1,20}(?:\.\d{1,20})?)\s*([A-Za-zµ]*)", re.ASCII)
_CLOSE: Final = {
    "sec": "s",
    "secs": "s",
    "second": "s",
    "seconds": "s",
    "msec": "ms",
    "millisecond": "ms",
    "milliseconds": "ms",
    "mins": "min",
    "minute": "min",
    "minutes": "min",
    "hr": "h",
    "hrs": "h",
    "hour": "h",
    "hours": "h",
    "day": "d",
    "days": "d",
    "week": "w",
    "weeks": "w",
}
_MONTHS: Final = frozenset({"month", "months", "mo", "mon"})
_YEARS: Final = frozenset({"y", "yr", "yrs", "year", "years"})


def parse_duration(text: str) -> timedelta:
    """Read a time span such as ``1h 30min``, ``1h30min`` or ``1.5h``.

    Args:
        text: Numbers, each with its unit, one after the other; they are added up.

    Returns:
        The length, exact to the microsecond, at most 365250 days.

    Raises:
        ValueError: It is not such a span; the text shows it and says what to write instead.
    """
    return blaming(text, _parse)


def _parse(text: str) -> timedelta:
    stripped = text.strip()
    if not stripped:
        raise ValueError(f"is empty; write a number with its unit, {EXAMPLES}")
    if stripped.startswith("-"):
        raise ValueError("is negative; a duration is 0s or more")
    foreign = meant_duration(stripped)
    if foreign is not None:
        raise ValueError(foreign)
    total = Decimal(0)
    position = 0
    while position < len(stripped):
        part = _PART.match(stripped, position)
        if part is None:
            raise ValueError(
                f"is not a duration; write numbers with the units ms, s, min, h, d, w, {EXAMPLES}"
            )
        number, unit = part.group(1), part.group(2)
        total += Decimal(number) * _scale(number, unit)
        position = part.end()
    if total > LONGEST // timedelta(microseconds=1):
        raise ValueError(f"is too long; the longest is {LONGEST.days}d (1000 years)")
    return timedelta(microseconds=int(total.to_integral_value()))


def format_duration(length: timedelta) -> str:
    """Write a length so that ``parse_duration`` gives exactly it back.

    Args:
        length: 0 or more.

    Returns:
        Whole units, the largest first: ``1h 30min``, ``250ms``, ``0s``. Weeks are written as
        days; a rest below a millisecond as a fraction of it.
    """
    rest = length // timedelta(microseconds=1)
    parts: list[str] = []
    for unit in ("d", "h", "min", "s"):
        count, rest = divmod(rest, _MICROSECONDS[unit])
        if count:
            parts.append(f"{count}{unit}")
    whole, fraction = divmod(rest, _MICROSECONDS["ms"])
    if fraction:
        parts.append(f"{whole}.{fraction:03d}".rstrip("0") + "ms")
    elif whole:
        parts.append(f"{whole}ms")
    return " ".join(parts) or "0s"


def _scale(number: str, unit: str) -> int:
    """Return microseconds per unit, or raise what to write instead of it."""
    known = _MICROSECONDS.get(unit)
    if known is not None:
        return known
    if not unit:
        raise ValueError(
            f'has a number without a unit; write "{number}s" for seconds, or {number} with one of'
            " ms, min, h, d, w"
        )
    if unit == "m":
        raise ValueError(f'uses "m", which is unclear; write "{number}min" for minutes')
    if unit == "M" or unit.lower() in _MONTHS:
        raise ValueError(
            f"uses {unit!r}: months have no fixed length; write days,"
            f' "{_times(number, 30)}d" for {number} x 30 days'
        )
    if unit.lower() in _YEARS:
        raise ValueError(
            f"uses {unit!r}: years have no fixed length; write days,"
            f' "{_times(number, 365)}d" for {number} x 365 days'
        )
    near = _CLOSE.get(unit.lower()) or (unit.lower() if unit.lower() in _MICROSECONDS else None)
    if near:
        raise ValueError(f'uses the unit {unit!r}; write "{number}{near}"')
    raise ValueError(f"uses the unknown unit {unit!r}; the units are ms, s, min, h, d, w")


def _times(number: str, factor: int) -> str:
    product = f"{Decimal(number) * factor:f}"
    return product.rstrip("0").rstrip(".") if "." in product else product
