"""Catalogue reads inside one `reading`: many in one message, since a link may be slow."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import asyncpg

from sweeperd.errors import SweepError
from sweeperd.postgres.copy_out import copied
from sweeperd.postgres.sql.literals import Literals
from sweeperd.postgres.transaction import Connection

Row = asyncpg.Record | Mapping[str, Any]
Argument = int | str | None | Sequence[str] | Sequence[int]

Question = tuple[str, tuple[Argument, ...]]  # a query of ``sql.catalog`` and its arguments

_PLACEHOLDER: Final = re.compile(r"\$([0-9]+)")
# In JSON neither of these stands as it is, so that COPY neither quotes nor escapes anything.
_DELIMITER: Final = "\x02"
_QUOTE: Final = "\x01"


class CatalogReads:
    """Answers questions to the catalogues, from what was asked ahead where that is known.

    Args:
        connection: In a `reading`, which lasts longer than this object.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._known: dict[str, list[Row]] = {}

    async def ask_ahead(self, *questions: Question) -> None:
        """Ask several questions in one message.

        Args:
            questions: Queries of ``sql.catalog`` with their arguments; the rows must be such as
                JSON carries: no times, no bytes.
        """
        texts = [_inlined(query, arguments) for query, arguments in questions]
        rows = ", ".join(
            f"(SELECT pg_catalog.jsonb_agg(pg_catalog.to_jsonb(q)) FROM ({text}) AS q)"
            for text in texts
        )
        answer = await copied(
            self.connection,
            f"SELECT pg_catalog.jsonb_build_array({rows})",
            form="csv",
            delimiter=_DELIMITER,
            quote=_QUOTE,
        )
        for text, found in zip(texts, json.loads(answer), strict=True):
            self._known[text] = found or []

    async def rows(self, query: str, *arguments: Argument) -> list[Row]:
        """Return the rows of a query."""
        known = self._known.get(_inlined(query, arguments)) if self._known else None
        if known is not None:
            return known
        return list(await self.connection.fetch(query, *arguments))

    async def row(self, query: str, *arguments: Argument) -> Row:
        """Return the row of a query that has exactly one.

        Raises:
            SweepError: It has none, for what it asks of was dropped.
        """
        rows = await self.rows(query, *arguments)
        if not rows:
            raise SweepError("something was dropped while it was looked at", cure="run it again")
        return rows[0]

    async def value(self, query: str, *arguments: Argument) -> Any:  # noqa: ANN401 - any column
        """Return the first column of a query's first row; None when there is none."""
        rows = await self.rows(query, *arguments)
        return next(iter(rows[0].values()), None) if rows else None


def _inlined(query: str, arguments: Sequence[Argument]) -> str:
    """Return one of our own queries with its arguments as constants."""
    return _PLACEHOLDER.sub(lambda match: _literal(arguments[int(match[1]) - 1]), query)


def _literal(value: Argument) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, int):
        return Literals().add(value, "bigint")
    if isinstance(value, str):
        return Literals().add(value, "text")
    kind = "bigint[]" if value and isinstance(value[0], int) else "text[]"
    return Literals().add(list(value), kind)
