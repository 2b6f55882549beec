"""COPY (...) TO STDOUT into memory: the answer of one simple query, for small answers only."""

from __future__ import annotations

from typing import Literal

import asyncpg


async def copied(
    connection: asyncpg.Connection,
    query: str,
    *,
    form: Literal["text", "csv", "binary"] = "text",
    delimiter: str | None = None,
    quote: str | None = None,
) -> bytes:
    """Return what COPY sends of a query.

    Args:
        connection: In a transaction.
        query: Without parameters.
        form: COPY's format.
        delimiter: Between the fields; COPY's own if left out.
        quote: Around a field; COPY's own if left out.

    Raises:
        asyncpg.PostgresError: The server refused.
    """
    said = bytearray()

    async def take(data: bytes) -> None:
        said.extend(data)

    await connection.copy_from_query(
        query, output=take, format=form, delimiter=delimiter, quote=quote
    )
    return bytes(said)
