"""What keeps rows before they are gone, as a batch uses it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sweeperd.postgres.sql.archive import ArchiveTable
from sweeperd.postgres.sql.slices import Slice, Tid
from sweeperd.postgres.sql.target import Target
from sweeperd.postgres.transaction import Connection, Frame

Slices = tuple[tuple[Target, Slice], ...]


@dataclass(frozen=True)
class TooLarge:
    """A row that no archive takes.

    Attributes:
        target: The table it is of.
        tid: Its place.
        size: Bytes of its line.
    """

    target: Target
    tid: Tid
    size: int


class Kept(Protocol):
    """What an archive keeps for one batch that has not begun yet."""

    @property
    def slices(self) -> Slices:
        """What the batch may delete."""

    @property
    def too_large(self) -> Sequence[TooLarge]:
        """Rows that are left out, for no archive takes them."""

    async def settle(self, stayed: Sequence[Sequence[int]]) -> str | None:
        """Take which rows of each slice stayed, counted from 1, once the batch was committed.

        Returns:
            Why that cannot be kept, in words; it does not undo the batch.
        """

    async def give_up(self) -> None:
        """Take that the batch was rolled back."""


class Archive(Protocol):
    """Where rows go instead of nowhere, before the transaction that deletes them commits."""

    synchronous: bool  # whether COMMIT waits for standbys

    @property
    def table(self) -> ArchiveTable | None:
        """The table that takes the rows, in the statement that deletes them; None for none."""

    async def keep(self, connection: Connection, frame: Frame, slices: Slices, limit: int) -> Kept:
        """Keep the rows of the next batch, outside of its transaction; return what it may delete.

        Args:
            connection: Outside of any transaction.
            frame: What the batch's transaction sets.
            slices: What the batch is to delete.
            limit: Rows that it may delete.

        Raises:
            RunEndError: They cannot be kept.
            ManyRowsError: There are more than that.
        """

    async def close(self) -> None:
        """End the run."""


class ManyRowsError(Exception):
    """The slices hold more rows than the batch may delete; none is kept."""


@dataclass(frozen=True)
class NothingKept:
    """A batch whose rows go, or are kept by the statement that deletes them."""

    slices: Slices
    too_large: Sequence[TooLarge] = ()

    async def settle(self, stayed: Sequence[Sequence[int]]) -> str | None:  # noqa: ARG002 - the protocol's
        """Keep nothing."""
        return None

    async def give_up(self) -> None:
        """Keep nothing."""


class NoArchive:
    """Rows go."""

    synchronous = False
    table: ArchiveTable | None = None

    async def keep(
        self,
        connection: Connection,  # noqa: ARG002 - the protocol's
        frame: Frame,  # noqa: ARG002 - the protocol's
        slices: Slices,
        limit: int,  # noqa: ARG002 - the protocol's
    ) -> Kept:
        """Keep nothing."""
        return NothingKept(slices)

    async def close(self) -> None:
        """Keep nothing."""
