"""SQL about time zones: what the server knows of one, and another one for a while."""

from __future__ import annotations

from sweeperd.postgres.sql.expired import Args, Condition
from sweeperd.postgres.sql.literals import quote_literal
from sweeperd.postgres.sql.target import Statement, Table


def local_times(zone: str, instants: list[int]) -> Statement:
    """Return the server's local time of each instant, in their order.

    Args:
        zone: Name of the time zone.
        instants: Microseconds since 2000-01-01 UTC.
    """
    return Statement(
        "SELECT pg_catalog.timezone($1::pg_catalog.text, at) AS local "
        "FROM pg_catalog.unnest($2::pg_catalog.timestamptz[]) WITH ORDINALITY AS given(at, n) "
        "ORDER BY n",
        (zone, instants),
    )


def set_zone(zone: str) -> str:
    """Return the statement that sets TimeZone for the transaction or the savepoint."""
    return f"SET LOCAL TimeZone = {quote_literal(zone)}"


def expression(pieces: tuple[str, ...], cutoff: int, table: Table, args: Args) -> str:
    """Return an operator's text cut at ``:cutoff``, with the cutoff as a timestamptz."""
    return Condition(pieces, cutoff).condition(args, table.reference)
