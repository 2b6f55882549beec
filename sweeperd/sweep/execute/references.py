"""Foreign keys that keep rows of the swept tables: known after the first refusal, and left out.

Each refusal rolls a batch back. So from the first one on, rows that somebody refers to are no part
of the run's statements; the keys themselves still protect each row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import asyncpg

from sweeperd.postgres.catalog import quote_if_needed
from sweeperd.postgres.sql import references as sql_references
from sweeperd.postgres.sql import rows as sql
from sweeperd.postgres.sql.references import ForeignKey
from sweeperd.postgres.sql.target import Table, Target
from sweeperd.postgres.sqlstate import Fault, classify
from sweeperd.postgres.transaction import (
    Connection,
    Frame,
    fetch,
    fetchval,
    reading,
    reading_rows,
    savepoint,
)
from sweeperd.sweep.outcome.remaining import MOST_ROWS


class References:
    """The keys by which rows are kept, for each table whose delete was refused by one.

    Args:
        oids: The swept tables' OIDs by schema and name.
        frame: Of reads of the operator's tables.
    """

    def __init__(self, oids: dict[tuple[str, str], int], frame: Frame) -> None:
        self._oids = oids
        self._frame = frame
        self._keys: dict[Table, tuple[ForeignKey, ...]] = {}
        self._itself: dict[Table, tuple[ForeignKey, ...]] = {}

    def leave_out(self, target: Target, *, parents: bool = False) -> Target:
        """Return the target without the rows that are known to be kept.

        Args:
            target: What goes from where.
            parents: Without those that rows of the same table refer to, either.
        """
        keys = self._keys.get(target.table, ())
        if parents:
            keys += self.to_itself(target.table)
        return replace(target, kept_by=keys) if keys else target

    def to_itself(self, table: Table) -> tuple[ForeignKey, ...]:
        """Return the keys by which rows of a table refer to rows of the same."""
        return self._itself.get(table, ())

    async def learn(self, connection: Connection, targets: Iterable[Target]) -> bool:
        """Look up the keys onto tables that refused a delete; tell whether there is news.

        Args:
            connection: In no transaction.
            targets: What goes from where, by statements that were refused.

        Raises:
            asyncpg.PostgresError: The catalogues could not be read.
        """
        unknown = {one.table: one for one in targets if one.table not in self._keys}
        for table, target in unknown.items():
            keys = await self._read(connection, table)
            self._itself[table] = tuple(key for key in keys if key.refers_to_itself)
            others = [key for key in keys if not key.refers_to_itself]
            self._keys[table] = await self._readable(connection, target, others)
        return any(self._keys[table] or self._itself[table] for table in unknown)

    def forget(self, tables: Iterable[Table]) -> bool:
        """Leave nothing out any more, as where a table that refers is gone; tell if that differs.

        It is not looked up again: each row that is kept is found by its refusal then.
        """
        known = [table for table in tables if self._keys.get(table)]
        self._keys.update(dict.fromkeys(known, ()))
        return bool(known)

    async def _read(self, connection: Connection, table: Table) -> list[ForeignKey]:
        oid = self._oids[table.schema, table.name]
        async with reading(connection):
            rows = await connection.fetch(sql_references.REFERENCES, oid)
        return [ForeignKey.of(dict(row)) for row in rows]

    async def _readable(
        self, connection: Connection, target: Target, keys: Sequence[ForeignKey]
    ) -> tuple[ForeignKey, ...]:
        """Return the keys whose tables this role may read; the planner is asked."""
        readable: list[ForeignKey] = []
        async with reading_rows(connection, self._frame):
            for key in keys:
                try:
                    async with savepoint(connection):
                        await fetch(connection, sql.explain(replace(target, kept_by=(key,))))
                except asyncpg.PostgresError as error:
                    if classify(error) is Fault.LOST:
                        raise
                else:
                    readable.append(key)
        return tuple(readable)

    def names(self, table: Table) -> str:
        """Return the keys that may keep rows of a table, as one line; empty for none."""
        keys = self._keys.get(table, ()) + self.to_itself(table)
        return ", ".join(
            f"foreign key {quote_if_needed(key.name)} of "
            f"{quote_if_needed(key.schema)}.{quote_if_needed(key.table)}"
            for key in keys
        )

    async def count_kept(
        self, connection: Connection, target: Target, seconds: float
    ) -> int | None:
        """Count the expired rows that the known keys keep, at most 10,000.

        Args:
            connection: In no transaction.
            target: What goes from where.
            seconds: How long it may take.

        Returns:
            How many, or None when that takes too long.
        """
        target = self.leave_out(target, parents=True)
        if not target.kept_by:
            return 0
        frame = replace(self._frame, statement_timeout_ms=max(int(seconds * 1000), 1))
        try:
            async with reading_rows(connection, frame):
                statement = sql.count_referenced(target, limit=MOST_ROWS)
                return int(await fetchval(connection, statement))
        except asyncpg.PostgresError as error:
            if classify(error) not in {Fault.TIMEOUT, Fault.LOCK, Fault.ROW}:
                raise
            return None
