"""The time zone of a sweep, as this host and the server know it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import asyncpg

from sweeperd.config.models import SweepConfig
from sweeperd.config.values.window import find_zone
from sweeperd.errors import SweepError
from sweeperd.postgres.sql import zones as sql
from sweeperd.postgres.transaction import Connection, fetch, savepoint
from sweeperd.sweep.survey.instants import from_micros, latest_reading, to_micros

_AROUND: Final = range(-50, 51)  # hours


async def zone_hold(connection: Connection, sweep: SweepConfig, cutoff: datetime) -> str | None:
    """Return why the sweep's zone is in doubt: host and server disagree about it.

    Raises:
        SweepError: One of the two does not know the zone.
    """
    name = sweep.column_timezone
    if name is None:
        return None
    try:
        zone = find_zone(name)
    except ValueError as error:
        raise SweepError(
            f"column_timezone: this host does not know the time zone: {error}",
            cure="install its time zone data (tzdata)",
        ) from None
    bound = cutoff - (sweep.keep or timedelta())
    instants = [at + timedelta(hours=h) for at in {cutoff, bound} for h in _AROUND]
    try:
        async with savepoint(connection):
            asked = sql.local_times(name, [to_micros(at) for at in instants])
            rows = await fetch(connection, asked)
    except asyncpg.InvalidParameterValueError:
        raise SweepError(
            f'column_timezone: the server does not know the time zone "{name}"',
            cure="write an IANA name that SELECT name FROM pg_timezone_names lists",
        ) from None
    for at, row in zip(instants, rows, strict=True):
        here = at.astimezone(zone).replace(tzinfo=None)
        there = from_micros(row["local"]).replace(tzinfo=None)
        if here != there:
            return (
                f"this host and the server disagree about the time zone {name}: "
                f"{at:%Y-%m-%d %H:%M:%S} UTC is {here:%Y-%m-%d %H:%M:%S} here and "
                f"{there:%Y-%m-%d %H:%M:%S} there; bring the time zone data (tzdata) of both up "
                "to date"
            )
    return None


def repeated_hour(sweep: SweepConfig, cutoff: datetime) -> str | None:
    """Return why an expression must wait: a local time may mean now or an hour that comes."""
    if sweep.expression_timezone in {None, "UTC"} or sweep.column_timezone is None:
        return None
    zone = find_zone(sweep.column_timezone)
    local = cutoff.astimezone(zone).replace(tzinfo=None)
    until = latest_reading(local, zone)
    if until <= cutoff:
        return None
    return (
        f"the hour before {local:%Y-%m-%d %H:%M} in {sweep.column_timezone} is about to be "
        "repeated: where and condition wait until it has passed the second time"
    )
