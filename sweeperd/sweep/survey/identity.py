"""Whether a table is still the one that was surveyed, asked while its lock keeps it so.

Between two batches anybody may drop a table, make it anew, attach a leaf to another table, swap two
columns by RENAME or change a column's type; a name then means other rows, and a constant of another
type is compared by a cast. A rewrite gives all rows other places. A foreign key that is added may
cascade to live rows, and a rule may do anything instead of the delete.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from sweeperd.config.models import SweepConfig
from sweeperd.postgres.catalog import Column, Relation
from sweeperd.postgres.names import column_readings
from sweeperd.postgres.proof import Proof, TableIdentity, read_proof
from sweeperd.postgres.sql import batch as sql
from sweeperd.postgres.sql.target import Table
from sweeperd.postgres.transaction import Connection
from sweeperd.sweep.outcome.report import LeafSetAsideError, Outcome, RunEndError

_MEANWHILE: Final = "while the run was under way; nothing of this batch was deleted"


@dataclass(frozen=True)
class Identity:
    """What a run's tables were when it looked at them, before it read anything else of them.

    Attributes:
        root: OID of the sweep's own table.
        columns: Names of the columns that decide which rows go; None where each column does.
        whole: There must be no other columns: an archive would miss them.
        tables: What the table and all below it were, by OID.
        relations: The leaves, by schema and name.
    """

    root: int = 0
    columns: tuple[str, ...] | None = ()
    whole: bool = False
    tables: dict[str, TableIdentity] = field(default_factory=dict)
    relations: dict[tuple[str, str], Relation] = field(default_factory=dict)

    @classmethod
    async def read(cls, connection: Connection, sweep: SweepConfig, root: int) -> Identity:
        """Look at a table and all below it; in a transaction that the survey reads in."""
        archived = sweep.archive_to is not None
        alone = sweep.column is not None and sweep.where is None and not archived
        columns = tuple(column_readings(sweep.column)) if alone and sweep.column else None
        await connection.execute(sql.look_below(root, columns))
        proof = await read_proof(connection, sql.PROOF)
        tables = {table.oid: table for table in proof.tables if table is not None}
        return cls(root, columns, archived, tables)

    @property
    def oids(self) -> dict[tuple[str, str], int]:
        """The leaves' OIDs by schema and name."""
        return {name: relation.oid for name, relation in self.relations.items()}

    async def look_again(self, connection: Connection, table: Relation) -> TableIdentity | None:
        """Look at a leaf that was rewritten; from now on its rows are in the file that it has now.

        Returns:
            What it is now; None when it is another table by now, or is attached elsewhere.
        """
        await connection.execute(sql.look_below(table.oid, self.columns))
        proof = await read_proof(connection, sql.PROOF)
        key = str(table.oid)
        was = self.tables.get(key)
        now = next((one for one in proof.tables if one is not None and one.oid == key), None)
        if was is None or now is None:
            return None
        try:
            self._compare(table, was, replace(now, heap_file=was.heap_file))
        except RunEndError:
            return None
        self.tables[key] = now
        return now

    def require(self, proof: Proof, tables: Sequence[Table]) -> None:
        """Compare what a batch deleted from, while its locks keep that as it is.

        Raises:
            RunEndError: A table or a column is another one, or a delete may have other effects; the
                caller rolls back.
        """
        for table, found in zip(tables, proof.tables, strict=True):
            known = self.relations[table.schema, table.name]
            self._compare(known, self.tables.get(str(known.oid)), found)

    def _compare(
        self, table: Relation, was: TableIdentity | None, now: TableIdentity | None
    ) -> None:
        if was is None or now is None or now.oid != was.oid:
            if table.oid == self.root:
                raise _end("held", f"{table.shown} was made anew", "is it still the same data?")
            # a day's work with partitions: the next run looks again
            raise _aside(table, "was made anew, attached or detached")
        if now.ancestry != was.ancestry:
            raise _aside(table, "was attached or detached")
        if self.whole and now.column_count != was.column_count:
            raise _aside(table, "got another column, which the archive would miss,")
        if now.columns != was.columns:
            what = f"a column of {table.shown} changed its type, name or place, or was dropped,"
            raise _end("failed", what, "run sweeperd check")
        if now.reactions != was.reactions:
            raise _aside(table, "got or lost a foreign key or a rule")
        if now.heap_file != was.heap_file:
            raise _aside(table, "was truncated or rewritten", rewritten=True)

    def of(self, leaves: Iterable[Relation], columns: Iterable[Column]) -> Identity:
        """Return the same for the leaves that are swept, and the columns that they have."""
        names = self.columns
        if names is None:  # by name, so that a column that is added meanwhile does not matter
            names = tuple(column.name for column in columns)
        return replace(
            self, columns=names, relations={(one.schema, one.name): one for one in leaves}
        )


def _end(outcome: Outcome, what: str, then: str) -> RunEndError:
    kinds = ("oid",) if outcome == "held" else ()
    return RunEndError(outcome, f"{what} {_MEANWHILE}; {then}", kinds=kinds)


def _aside(table: Relation, what: str, *, rewritten: bool = False) -> LeafSetAsideError:
    reason = f"{table.shown} {what} {_MEANWHILE}; the next run looks at it again"
    return LeafSetAsideError("throttled", reason, leaf=str(table.oid), rewritten=rewritten)
