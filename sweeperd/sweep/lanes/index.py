"""Strategy index: slices of the column, whose bounds are read ahead by index-only scans."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Final

import asyncpg

from sweeperd.postgres.sql.expired import Key
from sweeperd.postgres.sql.literals import text_of
from sweeperd.postgres.sql.slices import KeyRange
from sweeperd.postgres.sql.target import Target
from sweeperd.postgres.transaction import Connection, Frame
from sweeperd.sweep.lanes.bounds import Ahead, read_bounds, read_next_bound
from sweeperd.sweep.lanes.lane import NEVER_JOINED, Piece, SwitchError
from sweeperd.sweep.outcome.progress import ColumnValue

_FIRST_ROWS: Final = 1_000
_LARGEST_ROWS: Final = 1_000_000
_MOST_BOUNDS: Final = 16


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
        name: Names the lane in the advisory lock.
        target: What goes from where.
        leaf: Key of the leaf in the pass.
        has_places: Whether the table is one heap, so that ctid names one row.
        after: The last value that the pass has done.
    """

    strategy = "index"
    density = 0.0
    read_budget: float | None = None
    units_per_block = 0
    least_joined = NEVER_JOINED

    def __init__(
        self,
        name: str,
        target: Target,
        *,
        leaf: str,
        has_places: bool,
        after: ColumnValue | None = None,
    ) -> None:
        self.name = name
        self.leaf = leaf
        self.target = target
        self.has_places = has_places
        self.first_size = _FIRST_ROWS
        self.largest_size = _LARGEST_ROWS
        self.position = KeyPosition(_from_saved(after, target.column.type_name))
        self._ahead = Ahead()
        self._count = _MOST_BOUNDS

    async def prepare(
        self, connection: Connection, frame: Frame, position: KeyPosition, size: int, rows: int
    ) -> None:
        """Read bounds ahead, unless those that are known serve; slices keep their rows.

        A bound may lie where the rows changed since: a slice is then larger or smaller. Where the
        reading takes too long, as of a table on a slow disk, fewer are read from then on.

        Raises:
            asyncpg.PostgresError: The reading failed, or took too long for one slice alone.
        """
        size = max(min(size, rows), 1)
        if position.done or (self._ahead.step <= rows and self._ahead.joined(position.low, size)):
            return
        if not self.has_places:
            self._ahead = await read_next_bound(
                connection, frame, self.target, position.low, step=size
            )
            return
        while True:  # each turn reads, or the next reads a quarter of it
            try:
                self._ahead = await read_bounds(
                    connection, frame, self.target, position.low, step=size, count=self._count
                )
            except asyncpg.QueryCanceledError:
                if self._count == 1:
                    raise
                self._count //= 4
            else:
                return

    def next(self, position: KeyPosition, size: int, rows: int) -> Piece | None:
        """Return the slice of about the next ``size`` values.

        Raises:
            SwitchError: The next value alone has more rows than that.
            LookupError: Its bound was not read.
        """
        if position.done:
            return None
        low, ahead = position.low, self._ahead
        joined = ahead.joined(low, max(min(size, rows), 1))
        if not joined:
            raise LookupError(f"lane {self.name} was not prepared for {position}")
        bound, units = ahead.from_here(low)[joined - 1], joined * ahead.step
        if bound.last:
            done = KeyPosition(low, done=True)
            rest = KeyRange(low, None)
            return Piece(self.target, rest, units, last=True, end=done, leaf=self.leaf)
        if bound.shared and self.has_places:
            column = self.target.column.column
            raise SwitchError(
                "heap", f"one value of {column} is shared by more rows than a batch holds"
            )
        high = bound.beyond if bound.shared else bound.high
        part, end = KeyRange(low, high), KeyPosition(high)
        return Piece(
            self.target, part, units, last=False, end=end, leaf=self.leaf, least=bound.shared,
            value=None if high is None else _saved(high),
        )  # fmt: skip

    def advance(self, piece: Piece) -> None:
        """Move behind a slice."""
        self.position = piece.end


def _saved(value: Key) -> ColumnValue:
    return str(value) if isinstance(value, Decimal) else value


def _from_saved(cursor: object, type_name: str) -> Key | None:
    """Return a saved value as the column's type; None, the start, for what is no such value."""
    if isinstance(cursor, bool) or not isinstance(cursor, int | float | str):
        return None
    try:
        value = _read(cursor, type_name)
        text_of(value, type_name)
    except (ValueError, OverflowError, InvalidOperation):
        return None
    return value


def _read(cursor: float | str, type_name: str) -> Key:
    """Return a saved value as the column's type.

    Raises:
        ValueError: It is no such value.
    """
    if type_name in {"text", "varchar"}:
        if not isinstance(cursor, str):
            raise ValueError("no text")
        return cursor
    if type_name == "numeric":
        number = Decimal(str(cursor))
        if not number.is_finite():
            raise ValueError("no finite number")
        return number
    if type_name != "double precision":
        return int(cursor)
    value = float(cursor)
    if not isfinite(value):
        raise ValueError("no finite number")
    return value
