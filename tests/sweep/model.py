"""What a row's expiry means, written a second time in plain Python: the oracle."""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

UNIX = datetime(1970, 1, 1, tzinfo=UTC)
PER_SECOND = {"epoch_s": 1, "epoch_ms": 1_000, "epoch_us": 1_000_000}
LARGEST = {"smallint": 2**15 - 1, "integer": 2**31 - 1, "bigint": 2**63 - 1}
SHAPE = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]+)?(Z|\+00|\+00:00)?"
)


def readings(local: datetime, zone: ZoneInfo) -> list[datetime]:
    return [local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)]


def is_expired(  # noqa: PLR0911 - one rule a unit
    unit: str, type_name: str, value: object, instant: datetime, zone_name: str | None
) -> bool:
    """Whether a row goes at cutoff minus keep = instant."""
    if value is None:
        return False
    if isinstance(value, datetime):
        if value.tzinfo is not None:
            return value <= instant
        zone = ZoneInfo(zone_name or "UTC")
        return max(readings(value, zone)) <= instant
    if isinstance(value, date):
        zone = ZoneInfo(zone_name or "UTC")
        midnight = datetime.combine(value + timedelta(days=1), datetime.min.time())
        return max(readings(midnight, zone)) <= instant
    if isinstance(value, str):
        return text_is_expired(value, instant, zone_name)
    if isinstance(value, float) and (math.isnan(value) or math.isinf(value)):
        return False
    assert isinstance(value, int | float | Decimal)
    if isinstance(value, Decimal) and not value.is_finite():
        return False
    if value <= 0 or value == LARGEST.get(type_name):
        return False
    micros = (instant - UNIX) // timedelta(microseconds=1)
    return Decimal(value) * 1_000_000 <= Decimal(micros) * PER_SECOND[unit]


def text_is_expired(value: str, instant: datetime, zone_name: str | None) -> bool:
    match = SHAPE.fullmatch(value)
    if match is None or (match[4] is None and zone_name != "UTC"):
        return False
    try:
        second = datetime.strptime(f"{match[1]} {match[2]}+0000", "%Y-%m-%d %H:%M:%S%z")
    except ValueError:
        return False
    fraction = Decimal(match[3] or "0")
    whole = instant.replace(microsecond=0)
    rest = Decimal(instant.microsecond) / 1_000_000
    return second < whole or (second == whole and fraction <= rest)
