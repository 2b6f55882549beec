"""Strategy index: slices of the column, each ended by an index-only probe."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, Final

from sweeperd.postgres.sql import rows as sql
from sweeperd.postgres.sql.expired import Key
from sweeperd.postgres.sql.rows import KeyRange, Target
from sweeperd.postgres.transaction import Connection, fetch, fetchval
from sweeperd.sweep.lanes.lane import NEVER_JOINED, Piece, SwitchError

_FIRST_ROWS: Final = 1_000
_LARGEST_ROWS: Final = 1_000_000


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

    def __init__(self, name: str, target: Target, *, has_places: bool, cursor: Any = None) -> None:  # noqa: ANN401 - JSON
        self.name = name
        self.target = target
        self.has_places = has_places
        self.first_size = _FIRST_ROWS
        self.largest_size = _LARGEST_ROWS
        self._low: Key | None = _from_json(cursor, target.column.type_name)
        self._done = False

    async def next(self, connection: Connection, size: int, rows: int) -> Piece | None:
        """Return the slice of the next ``size`` values.

        Raises:
            SwitchError: The next value alone has more rows than that.
        """
        if self._done:
            return None
        size = max(min(size, rows), 1)
        async with _index_order(connection):
            found = await fetch(connection, sql.probe(self.target, self._low, size))
        ends = [row[0] for row in found]
        if len(ends) < 2:  # noqa: PLR2004 - this row and the next: nothing lies beyond
            return Piece(self.target, KeyRange(self._low, None), size, last=True)
        high, beyond = ends
        if high == beyond:
            before = sql.value_before(self.target, self._low, high)
            async with _index_order(connection):
                high = await fetchval(connection, before)
            if high is None and self.has_places:
                column = self.target.column.column
                reason = f"one value of {column} is shared by more rows than a batch holds"
                raise SwitchError("heap", reason)
        shared = high is None
        end = KeyRange(self._low, beyond if shared else high)
        return Piece(self.target, end, size, last=False, least=shared)

    def advance(self, piece: Piece) -> None:
        """Move behind a slice."""
        self._done = piece.last
        if isinstance(piece.part, KeyRange) and piece.part.high is not None:
            self._low = piece.part.high

    def mark(self) -> tuple[Key | None, bool]:
        """Return the position."""
        return self._low, self._done

    def reset(self, mark: tuple[Key | None, bool]) -> None:
        """Go back."""
        self._low, self._done = mark

    def cursor(self) -> Any:  # noqa: ANN401 - JSON
        """Return the last value done; None at the start or the end."""
        if self._done or self._low is None:
            return None
        return str(self._low) if isinstance(self._low, Decimal) else self._low


@asynccontextmanager
async def _index_order(connection: Connection) -> AsyncIterator[None]:
    """Let the probe walk the index: without statistics the planner would rather sort all rows.

    Only the probe is planned so; the DELETE, its cascades and triggers are not.
    """
    await connection.execute(sql.WALK_INDEX)
    yield
    await connection.execute(sql.WALK_AS_PLANNED)


def _from_json(cursor: Any, type_name: str) -> Key | None:  # noqa: ANN401 - JSON
    if cursor is None:
        return None
    if type_name == "numeric":
        return Decimal(cursor)
    if type_name == "double precision":
        return float(cursor)
    return str(cursor) if type_name in {"text", "varchar"} else int(cursor)
