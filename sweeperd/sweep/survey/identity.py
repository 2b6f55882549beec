"""Whether a table is still the one that was surveyed, asked while its lock keeps it so.

Between two batches anybody may drop a table, make it anew, detach a leaf or change a column's
type; a name then means other rows, and a constant of another type is compared by a cast. A foreign
key that is added may cascade to live rows, and a rule may do anything instead of the delete.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sweeperd.postgres.catalog import Column, Relation
from sweeperd.postgres.records import one_row
from sweeperd.postgres.sql import catalog as sql_catalog
from sweeperd.postgres.sql.expired import quote
from sweeperd.postgres.sql.rows import Table
from sweeperd.postgres.transaction import PINNED, Connection, assigned_xid, set_search_path
from sweeperd.sweep.outcome.report import RunEndError


@dataclass(frozen=True)
class Identity:
    """What a run's tables were when it looked at them.

    Attributes:
        relations: By schema and name.
        root: OID of the sweep's own table.
        columns: What decides which rows go: the sweep's column, or all for the operator's SQL.
        whole: There must be no other columns: an archive would miss them.
    """

    relations: dict[tuple[str, str], Relation] = field(default_factory=dict)
    root: int = 0
    columns: tuple[Column, ...] = ()
    whole: bool = False

    @classmethod
    def of(
        cls,
        root: Relation,
        leaves: Iterable[Relation],
        columns: Iterable[Column],
        *,
        whole: bool = False,
    ) -> Identity:
        """Take what a survey found."""
        known = {(one.schema, one.name): one for one in leaves}
        return cls(known, root.oid, tuple(columns), whole)

    async def prove(self, connection: Connection, tables: Iterable[Table]) -> str | None:
        """Compare, in the transaction that has deleted from these tables; return its id.

        Raises:
            RunEndError: A table or a column is another one, or a delete may have other effects; the
            caller rolls back.
        """
        known = [self.relations[table.schema, table.name] for table in tables]
        if not known:
            return await assigned_xid(connection)
        row = await one_row(
            connection,
            sql_catalog.UNCHANGED,
            [f"{quote(one.schema)}.{quote(one.name)}" for one in known],
            [one.oid for one in known],
            sum(one.partition for one in known),
            [f"{column.type} {column.name}" for column in self.columns],
            len(known) * len(self.columns),
            len(known) * len(self.columns) if self.whole else None,
            sum(one.reactions for one in known),
        )
        if not row["unchanged"]:
            await self._tell(connection, known)
        if not row["same_reactions"]:
            names = ", ".join(one.shown for one in known[:3])
            raise RunEndError(
                "throttled",
                f"a foreign key or rule of {names} was added or removed while the run was under "
                "way; nothing of this batch was deleted; the next run looks at it again",
            )
        xid: str | None = row["xid"]
        return xid

    async def _tell(self, connection: Connection, known: list[Relation]) -> None:
        await set_search_path(connection, PINNED)  # this batch is rolled back
        rows = await connection.fetch(
            sql_catalog.CHANGED,
            [one.schema for one in known],
            [one.name for one in known],
            [one.oid for one in known],
            [one.partition for one in known],
            [column.name for column in self.columns],
            [column.type for column in self.columns],
        )
        if not rows:
            raise RunEndError(
                "throttled",
                f"{known[0].shown} got another column while the run was under way, which the "
                "archive would miss; nothing of this batch was deleted; the next run looks again",
            )
        row = rows[0]
        name = f"{row['schema']}.{row['name']}"
        if row["column"] is None and row["replaced"] and row["oid"] == self.root:
            raise RunEndError(
                "held",
                f"{name} was made anew while the run was under way; nothing of this batch was "
                "deleted; is it still the same data?",
                kinds=("oid",),
            )
        if row["column"] is None:  # a day's work with partitions: the next run looks again
            raise RunEndError(
                "throttled",
                f"{name} was made anew, attached or detached while the run was under way; "
                "nothing of this batch was deleted; the next run looks at it again",
            )
        raise RunEndError(
            "failed",
            f"column {row['column']} of {name} changed its type or was dropped while the run "
            "was under way; nothing of this batch was deleted; run sweeperd check",
        )
