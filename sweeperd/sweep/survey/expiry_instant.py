"""A column's value turned back into the instant that it means."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

from sweeperd.config.models import Unit
from sweeperd.postgres.sql.expired import Key
from sweeperd.sweep.survey.instants import from_micros, latest_reading, to_micros

_DAY: Final = 86_400_000_000  # microseconds
_UNIX_TO_2000: Final = 946_684_800_000_000  # microseconds
_MICROS_PER: Final = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}


def micros_of(value: Key, unit: Unit, zone: str | None) -> int:
    """Return the instant that a value means, microseconds since 2000-01-01 UTC.

    A local time counts by its latest reading, a date by the midnight that ends the day: as the
    cutoff does. What lies outside the years 1 to 9999 is read as UTC.

    Args:
        value: As the driver gives it: instants and days are integers.
        unit: The column's.
        zone: Of a timestamp or date column.

    Raises:
        ValueError: A text is no instant.
    """
    if unit == "iso8601":
        found = datetime.fromisoformat(str(value))
        return to_micros(found if found.tzinfo else found.replace(tzinfo=UTC))
    if unit in _MICROS_PER:
        return int(Decimal(value) * _MICROS_PER[unit]) - _UNIX_TO_2000
    if unit == "timestamptz":
        return int(value)
    local = (int(value) + 1) * _DAY if unit == "date" else int(value)
    try:
        wall = from_micros(local).replace(tzinfo=None)
        return to_micros(latest_reading(wall, ZoneInfo(zone or "UTC")))
    except OverflowError:
        return local


def instant_or_none(micros: int) -> datetime | None:
    """Return an instant of the years 1 to 9999, UTC; None for any other."""
    try:
        return from_micros(micros)
    except OverflowError:
        return None


def micros_in(length: timedelta) -> int:
    """Return a length in microseconds."""
    return length // timedelta(microseconds=1)
