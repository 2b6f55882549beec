"""Strategy index: slices of the column, each ended by an index-only probe."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Final

from sweeperd.postgres.sql import rows as sql
from sweeperd.postgres.sql.expired import Key
from sweeperd.postgres.sql.rows import KeyRange, Target
from sweeperd.postgres.transaction import Connection, fetch, fetchval
from sweeperd.sweep.lanes.lane import NEVER_JOINED, Piece, SwitchError

_FIRST_ROWS: Final = 1_000
_LARGEST_ROWS: Final = 1_000_000
_BIGINT_END: Final = 2**63


@dataclass(frozen=True)
class KeyPosition:
    """A position in the order of the column.

    Attributes:
        low: The last value done; None before the first.
        done: Whether everything up to the bound is done.
    """

    low: Key | None
    done: bool = False


class IndexLane:
    """Values of the column upward from the cursor to the bound.

    Args:
        name: Names the lane in the saved state and the fence.
        target: What goes from where.
        has_places: Whether the table is one heap, so that ctid names one row.
        cursor: Saved cursor of an earlier run.
    """

    strategy = "index"
    density = 0.0
    read_budget: float | None = None
    units_per_block = 0
    least_joined = NEVER_JOINED

    def __init__(
        self, name: str, target: Target, *, has_places: bool, cursor: object = None
    ) -> None:
        self.name = name
        self.target = target
        self.has_places = has_places
        self.first_size = _FIRST_ROWS
        self.largest_size = _LARGEST_ROWS
        self.position = KeyPosition(_from_json(cursor, target.column.type_name))

    async def next(
        self, connection: Connection, position: KeyPosition, size: int, rows: int
    ) -> Piece | None:
        """Return the slice of the next ``size`` values.

        Raises:
            SwitchError: The next value alone has more rows than that.
        """
        if position.done:
            return None
        low, size = position.low, max(min(size, rows), 1)
        async with _index_order(connection):
            found = await fetch(connection, sql.probe(self.target, low, size))
        ends = [row[0] for row in found]
        if len(ends) < 2:  # noqa: PLR2004 - this row and the next: nothing lies beyond
            end = KeyPosition(low, done=True)
            return Piece(self.target, KeyRange(low, None), size, last=True, end=end)
        high, beyond = ends
        if high == beyond:
            before = sql.value_before(self.target, low, high)
            async with _index_order(connection):
                high = await fetchval(connection, before)
            if high is None and self.has_places:
                column = self.target.column.column
                reason = f"one value of {column} is shared by more rows than a batch holds"
                raise SwitchError("heap", reason)
        shared = high is None
        part = KeyRange(low, beyond if shared else high)
        end = KeyPosition(part.high)
        return Piece(self.target, part, size, last=False, end=end, least=shared)

    def advance(self, piece: Piece) -> None:
        """Move behind a slice."""
        self.position = piece.end

    def cursor(self) -> str | int | float | None:
        """Return the last value done; None at the start or the end."""
        low = None if self.position.done else self.position.low
        return str(low) if isinstance(low, Decimal) else low


@asynccontextmanager
async def _index_order(connection: Connection) -> AsyncIterator[None]:
    """Let the probe walk the index: without statistics the planner would rather sort all rows.

    Only the probe is planned so; the DELETE, its cascades and triggers are not.
    """
    await connection.execute(sql.WALK_INDEX)
    yield
    await connection.execute(sql.WALK_AS_PLANNED)


def _from_json(cursor: object, type_name: str) -> Key | None:
    """Return a saved value as the column's type; None, the start, for what is no such value."""
    if type_name in {"text", "varchar"}:
        return cursor if isinstance(cursor, str) else None
    if isinstance(cursor, bool) or not isinstance(cursor, int | float | str):
        return None
    try:
        if type_name == "numeric":
            number = Decimal(str(cursor))
            return number if number.is_finite() else None
        if type_name != "double precision":
            whole = int(cursor)
            return whole if abs(whole) < _BIGINT_END else None
        value = float(cursor)
    except (ValueError, OverflowError, InvalidOperation):
        return None
    return value if isfinite(value) else None
