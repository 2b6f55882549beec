"""What a batch deletes: slices, in the form that their locks and the operator's text ask for."""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg

from sweeperd.postgres.proof import Proof
from sweeperd.postgres.sql import batch as sql
from sweeperd.postgres.sql.archive import ArchiveTable
from sweeperd.postgres.sql.slices import Slice, Versions
from sweeperd.postgres.sql.target import Table, Target
from sweeperd.postgres.transaction import Connection
from sweeperd.sweep.execute.batch import TooManyRowsError
from sweeperd.sweep.outcome.report import RunEndError


class TreeInTheWayError(asyncpg.LockNotAvailableError):  # type: ignore[misc,unused-ignore]
    """Rows that would be deleted along are locked by others, or were renewed or added just now."""


@dataclass(frozen=True)
class Deletion:
    """Slices that go in one batch.

    Attributes:
        slices: What goes from where, in order.
        limit: Rows that the batch may delete.
        skip_locked: Leave out rows that others have locked, instead of waiting for them.
        never_waits: Lock each row before, so that not even one that is locked meanwhile is waited
            for.
        is_patient: Whether it may wait for the whole of lock_timeout.
        watch: Count the rows first, at most this many; where none of a slice went, they are told
            as skipped.
        archive: The table that takes the rows; None for none.
    """

    slices: tuple[tuple[Target, Slice], ...]
    limit: int
    skip_locked: bool = False
    never_waits: bool = False
    is_patient: bool = True
    watch: int = 0
    archive: ArchiveTable | None = None

    @property
    def tables(self) -> tuple[Table, ...]:
        """The table of each slice."""
        return tuple(target.table for target, _ in self.slices)

    @property
    def locking_statements(self) -> int:
        """Statements that may wait for a lock while others hold theirs."""
        twice = self.skip_locked and not self.never_waits
        return sum(
            2 if target.two_steps or target.cascades or twice else 1 for target, _ in self.slices
        )

    async def do(self, connection: Connection, opening: str) -> int | None:
        """Send all in one message; return what its command tag tells, if that is the count."""
        statements = [opening]
        for target, part in self.slices:
            if self.watch:
                statements.append(sql.note_left(target, part, self.watch))
            statements += self._statements(target, part)
        tag: str = await connection.execute(";\n".join(statements))
        return int(tag.rpartition(" ")[2]) if self._is_told_by_tag else None

    @property
    def _is_told_by_tag(self) -> bool:
        alone = len(self.slices) == 1 and self.archive is None
        target, part = self.slices[0]
        locks = self.skip_locked or target.two_steps or target.cascades
        noted = locks or isinstance(part, Versions)
        return bool(alone and not noted)

    def _statements(self, target: Target, part: Slice) -> list[str]:
        if self._is_told_by_tag:
            return [sql.delete_plain(target, part)]
        if target.two_steps or target.cascades:
            locking = sql.lock_then_delete_closed if target.cascades else sql.lock_then_delete
            lock, deletion = locking(target, part)
            return [
                lock,
                self._noted(deletion, target, part),
                sql.note_left(target, part, self.limit),
            ]
        left = sql.note_left(target, part, self.limit)
        if self.skip_locked and self.never_waits:
            return [self._noted(sql.delete_free(target, part), target, part), left]
        if self.skip_locked:
            return [
                sql.note_marked(target, part),
                sql.lock_marked(target),
                self._noted(sql.delete_unmarked(target, part), target, part),
                sql.note_marked_left(target, self.limit),
            ]
        return [self._noted(sql.delete_plain(target, part), target, part)]

    def _noted(self, deletion: str, target: Target, part: Slice) -> str:
        if isinstance(part, Versions):
            return sql.counted_with_stayed(deletion, target.table.reference, part)
        if self.archive is None:
            return sql.counted(deletion)
        return sql.archived(deletion, target.table.reference, self.archive)

    def judge(self, answer: int | None, proof: Proof) -> tuple[tuple[int, int], ...]:
        """Return rows deleted and skipped by slice.

        Raises:
            TooManyRowsError: More than ``limit`` rows went.
            TreeInTheWayError: No row went, for what else would be deleted along.
            RunEndError: The archive kept fewer rows than were deleted.
        """
        deleted = proof.deleted if answer is None else (answer,)
        if self.archive is not None and proof.kept != deleted:
            raise RunEndError(
                "failed",
                f"{self.archive.quoted} kept {sum(proof.kept)} of {sum(deleted)} rows: a trigger "
                "or rule on it drops rows; nothing of this batch was deleted",
            )
        cascades = any(target.cascades for target, _ in self.slices)
        if cascades and not any(deleted) and any(proof.skipped):
            raise TreeInTheWayError("rows below are locked by others, or not expired")
        if sum(deleted) > self.limit:
            raise TooManyRowsError
        skipped = proof.skipped or (0,) * len(deleted)
        if self.watch:
            pairs = zip(deleted, skipped, strict=True)
            skipped = tuple(0 if rows else before for rows, before in pairs)
        return tuple(zip(deleted, skipped, strict=True))
