"""Which rows are expired: the cutoff turned into constants of the column's exact type.

The column is never converted, the constant is, so that an index can serve. The rules are
the design's "Cutoff"; each function here is pure.
"""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

from sweeperd.config.models import SweepConfig, Unit
from sweeperd.errors import SweepError
from sweeperd.postgres.sql.expired import Condition, Expired, TextBound
from sweeperd.sweep.survey.instants import last_day_over, local_bound, to_days, to_micros

_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_PER_SECOND: Final[dict[str, int]] = {"epoch_s": 1, "epoch_ms": 1_000, "epoch_us": 1_000_000}
_INTEGER_MAX: Final[dict[str, int]] = {
    "smallint": 2**15 - 1,
    "integer": 2**31 - 1,
    "bigint": 2**63 - 1,
}

# unit -> the column types it fits
TYPES_OF_UNIT: Final[dict[str, tuple[str, ...]]] = {
    "timestamptz": ("timestamptz",),
    "timestamp": ("timestamp",),
    "date": ("date",),
    "epoch_s": ("smallint", "integer", "bigint", "numeric", "double precision"),
    "epoch_ms": ("smallint", "integer", "bigint", "numeric", "double precision"),
    "epoch_us": ("smallint", "integer", "bigint", "numeric", "double precision"),
    "iso8601": ("text", "varchar"),
}

# the least value of a type is a sentinel, too: PostgreSQL manual, table 8.9
_LEAST: Final[dict[str, str]] = {
    "timestamptz": "'4714-11-24 00:00:00+00 BC'::pg_catalog.timestamptz",
    "timestamp": "'4714-11-24 00:00:00 BC'::pg_catalog.timestamp",
    "date": "'4714-11-24 BC'::pg_catalog.date",
}


def unit_of(sweep: SweepConfig, type_name: str) -> Unit:
    """Return the unit in force for a column of this type.

    Raises:
        SweepError: The type cannot hold an expiry, the unit does not fit it, or a number or
            text column has no unit.
    """
    where = f"sweep {sweep.name}: column {sweep.column} of {sweep.table} is {type_name}"
    fitting = [unit for unit, types in TYPES_OF_UNIT.items() if type_name in types]
    if not fitting:
        raise SweepError(
            f"{where}, a type that holds no expiry",
            cure="choose a timestamptz, timestamp, date, number or ISO 8601 text column",
        )
    if sweep.unit is not None:
        if sweep.unit not in fitting:
            raise SweepError(
                f'{where}, which cannot hold unit "{sweep.unit}"',
                cure="use " + " or ".join(f'unit = "{unit}"' for unit in fitting),
            )
        unit: str = sweep.unit
    elif len(fitting) == 1 and fitting[0] != "iso8601":
        unit = fitting[0]
    else:
        choices = " or ".join(f'"{unit}"' for unit in fitting)
        raise SweepError(f"{where} and needs a unit", cure=f"write unit = {choices}")
    if unit in {"timestamp", "date"} and sweep.column_timezone is None:
        raise SweepError(
            f"{where}, which has no time zone",
            cure='write column_timezone = "UTC", or the zone its writers use',
        )
    return unit  # type: ignore[return-value]  # every key of TYPES_OF_UNIT is a Unit


def expired_rows(
    sweep: SweepConfig, *, column: str, type_name: str, cutoff: datetime, time_ordered: bool
) -> Expired:
    """Return what makes a row of this sweep expired at the cutoff.

    Args:
        sweep: Its unit, zone and keep.
        column: The column's name as the catalogue has it.
        type_name: The column's base type.
        cutoff: The database's instant, fixed once a run.
        time_ordered: Whether the column's collation sorts ISO 8601 text as time.
    """
    unit = unit_of(sweep, type_name)
    instant = cutoff - (sweep.keep or timedelta())
    if unit == "iso8601":
        return Expired(
            column, type_name, upper=None, text=_text_bound(sweep, instant, time_ordered)
        )
    if unit in _PER_SECOND:
        return Expired(column, type_name, upper=_number(type_name, unit, instant), floor="0")
    floor = _LEAST[unit]
    if unit == "timestamptz":
        return Expired(column, type_name, upper=to_micros(instant), floor=floor)
    zone = ZoneInfo(sweep.column_timezone or "UTC")
    if unit == "date":
        return Expired(column, type_name, upper=to_days(last_day_over(instant, zone)), floor=floor)
    bound = local_bound(instant, zone)
    hole = (to_micros(bound.hole[0]), to_micros(bound.hole[1])) if bound.hole else None
    return Expired(column, type_name, upper=to_micros(bound.upper), floor=floor, hole=hole)


def at_cutoff(
    sweep: SweepConfig, expired: Expired | Condition, cutoff: datetime
) -> Expired | Condition:
    """Return what made a row expired at another cutoff, such as that of a pass's first run."""
    if isinstance(expired, Condition):
        return replace(expired, cutoff=to_micros(cutoff))
    return expired_rows(
        sweep,
        column=expired.column,
        type_name=expired.type_name,
        cutoff=cutoff,
        time_ordered=expired.text is not None and expired.text.next_second is not None,
    )


def _number(type_name: str, unit: str, instant: datetime) -> int | float | Decimal:
    micros = (instant - _UNIX_EPOCH) // _MICROSECOND
    exact = Decimal(micros) * _PER_SECOND[unit] / 1_000_000
    if type_name == "numeric":
        return exact
    if type_name == "double precision":
        nearest = float(exact)
        return nearest if Decimal(nearest) <= exact else math.nextafter(nearest, -math.inf)
    # the type's greatest value is a sentinel, and a bound beyond it would not fit the type
    return min(math.floor(exact), _INTEGER_MAX[type_name] - 1)


def _text_bound(sweep: SweepConfig, instant: datetime, time_ordered: bool) -> TextBound:  # noqa: FBT001 - private, one caller
    second = instant.replace(microsecond=0)
    return TextBound(
        second=second.strftime("%Y-%m-%d %H:%M:%S").rjust(19, "0"),
        fraction=f"{instant.microsecond:06d}".rstrip("0"),
        zone_needed=sweep.column_timezone is None,
        next_second=(
            (second + timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
            if time_ordered
            else None
        ),
    )
