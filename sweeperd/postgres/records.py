"""Rows as the driver returns them."""

from __future__ import annotations

import asyncpg

from sweeperd.errors import SweepError
from sweeperd.postgres.transaction import Connection


async def one_row(connection: Connection, query: str, *arguments: object) -> asyncpg.Record:
    """Return the row of a query that has exactly one, unless what it asks of was dropped.

    Raises:
        SweepError: It has none.
    """
    row = await connection.fetchrow(query, *arguments)
    if row is None:
        raise SweepError("something was dropped while it was looked at", cure="run it again")
    return row
