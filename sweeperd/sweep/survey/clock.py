"""The cutoff, and whether the clocks of the database and this host agree."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from sweeperd.config.models import DatabaseConfig
from sweeperd.host.clock import Clock
from sweeperd.postgres import catalog
from sweeperd.postgres.catalog import Server
from sweeperd.postgres.sql import catalog as sql_catalog
from sweeperd.postgres.sql import rows as sql
from sweeperd.postgres.transaction import Connection, fetchval
from sweeperd.sweep.survey.instants import from_micros

_CLOCK_TRIES: Final = 3
_SLOW_ROUND_TRIP: Final = 1.0  # seconds


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


async def read_clock(
    connection: Connection, clock: Clock, config: DatabaseConfig
) -> tuple[Server, str | None]:
    """Fix the cutoff and compare the two clocks; a slow round trip is tried again."""
    for _ in range(_CLOCK_TRIES):
        before = clock.now()
        cutoff: int = await fetchval(connection, sql.Statement(sql_catalog.CLOCK))
        after = clock.now()
        if (after - before).total_seconds() < _SLOW_ROUND_TRIP:
            break
    hold = clock_hold(from_micros(cutoff), (before, after), config.max_clock_skew)
    return replace(await catalog.read_server(connection), cutoff=cutoff), hold
