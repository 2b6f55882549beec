"""What the lanes of one run have counted; the report has the sums."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sweeperd.postgres.sql.target import Table
from sweeperd.sweep.outcome.report import LeafSetAsideError, Report


@dataclass
class Counters:
    """The counts of one run, shared by its lanes. They move after the answer to COMMIT.

    Attributes:
        report: The run's.
        refused_rows: Rows that the database refuses to delete, or that stand among such ones.
        refused_in_a_row: Rows in the way, refused or locked, since one was deleted.
        named_rows: Refused rows that log and report have named.
        halving_seconds: Time that the search for such rows took.
        locked_rows: Rows that others have locked, by lane.
        deleted_since_vacuum: Rows deleted by table, of earlier runs, too, since anybody looked at
            what they left behind.
        refused_by_leaf: Rows refused and the last reason, by the leaf's key in the pass.
        stepped_over: Leaves of which slices were stepped over with rows that could have gone.
        set_aside: What set leaves aside in this run.
    """

    report: Report
    refused_rows: int = 0
    refused_in_a_row: int = 0
    named_rows: int = 0
    halving_seconds: float = 0.0
    locked_rows: dict[str, int] = field(default_factory=dict)
    deleted_since_vacuum: dict[Table, int] = field(default_factory=dict)
    refused_by_leaf: dict[str, tuple[int, str]] = field(default_factory=dict)
    stepped_over: set[str] = field(default_factory=set)
    set_aside: list[LeafSetAsideError] = field(default_factory=list)

    def batch_committed(self, rows: int) -> None:
        """Count a batch and its rows."""
        self.report.deleted_count += rows
        self.report.batches += 1
        if rows:
            self.refused_in_a_row = 0

    def deleted_from(self, tables: Mapping[Table, int]) -> None:
        """Add up by table, over runs: a backlog may take many, of which the last is small."""
        memory = self.report.memory
        memory.add_deleted({table.quoted: rows for table, rows in tables.items()})
        for table in tables:
            self.deleted_since_vacuum[table] = memory.deleted_since_vacuum[table.quoted]

    def rows_refused(self, leaf: str | None, rows: int, reason: str) -> None:
        """Count rows that the database refuses to delete, or that stand among such ones."""
        self.refused_in_a_row += rows
        self.refused_rows += rows
        if leaf is not None:
            known, _ = self.refused_by_leaf.get(leaf, (0, ""))
            self.refused_by_leaf[leaf] = known + rows, reason
            if rows > 1:
                self.stepped_over.add(leaf)
        self._sum_skipped()

    def rows_locked(self, lane: str, rows: int) -> None:
        """Take how many rows of a lane others have locked at this moment."""
        self.locked_rows[lane] = rows
        self._sum_skipped()

    @property
    def locked(self) -> int:
        """Rows that others have locked, of all lanes."""
        return sum(self.locked_rows.values())

    def _sum_skipped(self) -> None:
        self.report.skipped_count = self.refused_rows + self.locked
