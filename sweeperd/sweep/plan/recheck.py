"""Whether the first batches bear out what statistics told; if not, the lane is decided again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# A slice fetches one heap page for each expired row where the column is uncorrelated with
# the heap; a block range reads every page once, and sequentially.
ROWS_PER_BLOCK_WORTH: Final = 2.0

_SURPRISE: Final = 2.0
_LEAST_BLOCKS: Final = 256
_LEAST_SHARE: Final = 0.05


@dataclass
class SecondLook:
    """What was expected of one leaf, and what came.

    Attributes:
        strategy: The strategy under way.
        expected: Expired rows by statistics.
        blocks: The heap's size.
        rows: Rows deleted so far.
        seen: Blocks read so far, by block ranges.
    """

    strategy: str
    expected: float
    blocks: int
    rows: int = 0
    seen: int = 0

    def take(self, rows: int, blocks: int) -> None:
        """Take a committed batch."""
        self.rows += rows
        self.seen += blocks

    @property
    def better(self) -> str | None:
        """The strategy to go on with; None to stay."""
        worth = self.blocks * ROWS_PER_BLOCK_WORTH
        if self.strategy == "index":
            return "heap" if self.rows > max(self.expected * _SURPRISE, worth) else None
        enough = max(self.blocks * _LEAST_SHARE, _LEAST_BLOCKS)
        few = self.rows * _SURPRISE < self.seen * ROWS_PER_BLOCK_WORTH
        # the rest must be worth a change
        early = self.seen < self.blocks / _SURPRISE
        return "index" if self.seen >= enough and few and early else None

    @property
    def reason(self) -> str:
        """Why, as a sentence."""
        where = f"the first {self.seen} blocks had" if self.strategy == "heap" else "there were"
        return f"statistics told of about {self.expected:.0f} expired rows, {where} {self.rows}"
