"""Triggers that may suppress deletes: which tables have one is asked once, where any may."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sweeperd.postgres.catalog import Relation
from sweeperd.postgres.sql import dependents as sql_dependents
from sweeperd.postgres.sql.target import Table
from sweeperd.postgres.transaction import Connection, reading


class Suppressors:
    """The swept tables that have a BEFORE DELETE trigger for each row.

    Args:
        relations: The swept tables by schema and name.
    """

    def __init__(self, relations: Mapping[tuple[str, str], Relation]) -> None:
        self._relations = relations
        self._oids: set[int] | None = None

    async def any_on(self, connection: Connection, tables: Iterable[Table]) -> bool:
        """Whether one of these tables has such a trigger.

        Args:
            connection: In no transaction.
            tables: The tables.
        """
        asked = [self._relations[table.schema, table.name] for table in tables]
        if not any(relation.has_triggers for relation in asked):
            return False
        if self._oids is None:
            oids = [one.oid for one in self._relations.values() if one.has_triggers]
            async with reading(connection):
                rows = await connection.fetch(sql_dependents.BEFORE_DELETE, oids)
            self._oids = {row["oid"] for row in rows}
        return any(relation.oid in self._oids for relation in asked)
