"""What keeps rows before they are gone, as a batch uses it."""

from __future__ import annotations

from typing import Protocol

from sweeperd.postgres.sql.archive import ArchiveTable
from sweeperd.postgres.sql.rows import Statement
from sweeperd.postgres.transaction import Connection, execute


class Archive(Protocol):
    """Where rows go instead of nowhere, before the transaction that deletes them commits."""

    synchronous: bool  # whether COMMIT waits for standbys

    @property
    def table(self) -> ArchiveTable | None:
        """The table that takes the rows, in the statement that deletes them; None for none."""

    def begin(self, connection: Connection) -> None:
        """Begin a batch."""

    async def delete(self, connection: Connection, statement: Statement, reference: str) -> int:
        """Run a DELETE and keep its rows; return how many."""

    async def secure(self, connection: Connection) -> None:
        """Make what the batch kept outlive a crash; the batch then commits."""

    def give_up(self, connection: Connection) -> None:
        """Forget what a batch kept that was rolled back."""

    def end(self, connection: Connection) -> None:
        """End a batch."""

    async def close(self) -> None:
        """End the run."""


class NoArchive:
    """Rows go."""

    synchronous = False
    table: ArchiveTable | None = None

    def begin(self, connection: Connection) -> None:
        """Keep nothing."""

    async def delete(self, connection: Connection, statement: Statement, reference: str) -> int:  # noqa: ARG002 - the protocol's
        """Run the DELETE; return how many rows went."""
        return await execute(connection, statement)

    async def secure(self, connection: Connection) -> None:
        """Keep nothing."""

    def give_up(self, connection: Connection) -> None:
        """Keep nothing."""

    def end(self, connection: Connection) -> None:
        """Keep nothing."""

    async def close(self) -> None:
        """Keep nothing."""
