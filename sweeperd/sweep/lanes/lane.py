"""What a strategy hands to the run: a lane of slices with a cursor that is saved."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Final, Protocol

from sweeperd.postgres.sql.slices import Slice, TidRange
from sweeperd.postgres.sql.target import Target
from sweeperd.postgres.transaction import Connection, Frame
from sweeperd.sweep.outcome.progress import ColumnValue, Stretch
from sweeperd.sweep.outcome.sweep_pass import SweepPass


class SwitchError(Exception):
    """The leaf is better swept by another strategy.

    Attributes:
        strategy: Which.
        reason: Why, as a sentence.
    """

    def __init__(self, strategy: str, reason: str) -> None:
        super().__init__(reason)
        self.strategy = strategy
        self.reason = reason


NEVER_JOINED: Final = sys.maxsize


@dataclass(frozen=True)
class Piece:
    """One slice and what it measures.

    Attributes:
        target: What goes from where.
        part: The rows.
        units: Its size in the lane's units, for the pace.
        last: Whether the lane ends with it.
        end: The lane's position behind it; never the one it was asked for at.
        leaf: Key of the leaf in the pass.
        least: Whether it cannot be cut smaller.
        heap_file: The file that its rows are in, for a block range.
        value: The last value done with it, for a slice of the column.
    """

    target: Target
    part: Slice
    units: int
    last: bool
    end: Any
    leaf: str
    least: bool = False
    heap_file: str | None = None
    value: ColumnValue | None = None

    def committed(self, sweep_pass: SweepPass) -> None:
        """Let the pass know that its rows were swept."""
        if isinstance(self.part, TidRange):
            sweep_pass.cover(self.leaf, self.heap_file, Stretch(*self.part.low, *self.part.high))
        elif self.last:
            sweep_pass.finish(self.leaf)
        else:
            sweep_pass.reach(self.leaf, self.value)


class Lane(Protocol):
    """A share of a table's expired rows, walked once from where the pass stands to its end.

    Positions are immutable values of the lane's own. Only `advance` moves it.
    """

    name: str
    strategy: str
    has_places: bool  # ctid names one row: bisecting and SKIP LOCKED are possible
    first_size: int
    largest_size: int
    units_per_block: int  # 0 where units are no places
    read_budget: float | None  # blocks per second while it yields little
    least_joined: int  # rest of a batch, in units, for which the next slice may join it
    density: float  # expired rows per unit at most, as far as is known; 0 when it is not
    position: Any  # behind the last slice whose COMMIT was answered

    @property
    def target(self) -> Target:
        """What is deleted from where, for the next slice."""

    @property
    def leaf(self) -> str:
        """Key of the leaf at hand."""

    async def prepare(
        self,
        connection: Connection,
        frame: Frame,
        position: Any,  # noqa: ANN401 - the lane's own
        size: int,
        rows: int,
    ) -> None:
        """Read what `next` needs to know at a position, if it is not known yet.

        Args:
            connection: In no transaction.
            frame: Of the run's batches.
            position: As for `next`.
            size: As for `next`.
            rows: As for `next`.

        Raises:
            asyncpg.PostgresError: The reading failed; asked again, it reads again.
        """

    def next(
        self,
        position: Any,  # noqa: ANN401 - the lane's own
        size: int,
        rows: int,
    ) -> Piece | None:
        """Return the slice at a position, of about ``size`` units and at most ``rows`` rows.

        It moves nothing and sends nothing: asked again, it answers again. A batch that takes
        several slices asks for each at the end of the one before.

        Returns:
            The slice, or None when nothing lies behind the position.

        Raises:
            SwitchError: The leaf is better swept by another strategy.
        """

    def advance(self, piece: Piece) -> None:
        """Move behind the last slice of a batch whose COMMIT was answered."""
