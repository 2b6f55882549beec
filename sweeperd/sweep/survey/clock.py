"""The cutoff, and whether the clocks of the database and this host agree."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sweeperd.config.models import DatabaseConfig
from sweeperd.host.clock import Clock
from sweeperd.postgres.catalog_reads import CatalogReads, Question
from sweeperd.postgres.sql import catalog as sql_catalog
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
    reads: CatalogReads, clock: Clock, config: DatabaseConfig, *questions: Question
) -> str | None:
    """Read the server, and with it its clock, which becomes the cutoff; compare the two clocks.

    A slow round trip is tried again.

    Args:
        reads: Knows the server afterwards, and the answers to the questions.
        clock: The host's.
        config: How far apart the clocks may be.
        questions: What else is asked in the same message.

    Returns:
        Why the clocks are in doubt, or None.
    """
    for _ in range(_CLOCK_TRIES):
        before = clock.now()
        await reads.ask_ahead((sql_catalog.SERVER, ()), *questions)
        after = clock.now()
        if (after - before).total_seconds() < _SLOW_ROUND_TRIP:
            break
    cutoff = (await reads.row(sql_catalog.SERVER))["cutoff"]
    return clock_hold(from_micros(cutoff), (before, after), config.max_clock_skew)
