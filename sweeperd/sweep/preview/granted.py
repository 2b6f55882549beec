"""Reads the catalogues as if the role had the privileges that a sweep needs, and notes which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sweeperd.postgres.catalog import Relation
from sweeperd.postgres.catalog_reads import Argument, CatalogReads, Row
from sweeperd.postgres.sql import catalog as sql_catalog
from sweeperd.postgres.transaction import Connection
from sweeperd.sweep.survey.target import Leaf

_FACTS: Final = frozenset({sql_catalog.TABLE, sql_catalog.PARTITION_TREE})


class AsIfGranted(CatalogReads):
    """To look at a table SELECT is enough; what a run needs beyond it is told, not refused.

    Args:
        connection: In a `reading`.
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._missing: dict[int, str] = {}

    def missing(self, leaves: Sequence[Leaf]) -> list[str]:
        """Return the GRANTs that a run needs to sweep these leaves."""
        oids = [leaf.relation.oid for leaf in leaves]
        return [self._missing[oid] for oid in oids if oid in self._missing]

    async def rows(self, query: str, *arguments: Argument) -> list[Row]:
        """Return the rows of a query; in those of tables DELETE and UPDATE are granted."""
        rows = await super().rows(query, *arguments)
        return [self._granted(row) for row in rows] if query in _FACTS else rows

    def _granted(self, row: Row) -> Row:
        facts = dict(row)
        relation = Relation(**facts)
        if not relation.deletable:
            self._missing[relation.oid] = relation.grant("SELECT, UPDATE, DELETE")
        elif not relation.lockable:
            self._missing[relation.oid] = relation.grant("UPDATE")
        return facts | {"deletable": True, "lockable": True}
