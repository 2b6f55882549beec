"""Who holds a lane's advisory lock: another instance, or a lost connection of this very run."""

from __future__ import annotations

from dataclasses import dataclass

from sweeperd.log.safe_text import one_line
from sweeperd.postgres.sql import catalog as sql_catalog
from sweeperd.postgres.transaction import Connection, reading


@dataclass(frozen=True)
class LockHolder:
    """A session that holds a lane's lock.

    Attributes:
        pid: Its server process.
        name: Its application_name; empty where this role may not see it.
        seconds: How long its transaction has been under way; None where it may not be seen.
    """

    pid: int
    name: str
    seconds: float | None

    def __str__(self) -> str:
        name = f" {one_line(self.name)}" if self.name else ""
        since = f", in a transaction for {self.seconds:.1f} s" if self.seconds is not None else ""
        return f"session{name}, pid {self.pid}{since}"


async def lock_holder(connection: Connection, key: int) -> LockHolder | None:
    """Return who holds an advisory lock; None when nobody does any more.

    Args:
        connection: In no transaction.
        key: Of the lock.
    """
    async with reading(connection):
        rows = await connection.fetch(sql_catalog.LOCK_HOLDER, key)
    if not rows:
        return None
    return LockHolder(rows[0]["pid"], rows[0]["name"] or "", rows[0]["seconds"])
