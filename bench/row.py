"""One line of the bench: how large it is measured, and what came of it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        pairs: Paired runs of a row; the median of them counts.
        share: Of the rows that the full bench has.
        seconds: How long clients work undisturbed, where a row has clients.
    """

    pairs: int = 5
    share: float = 1.0
    seconds: float = 10.0

    def rows(self, full: int) -> int:
        """Return how many rows a table has that has so many in the full bench."""
        return max(int(full * self.share), 1)


QUICK = Size(pairs=1, share=0.05, seconds=3.0)


@dataclass(frozen=True)
class Row:
    """What was measured.

    Attributes:
        figure: A ratio to the peer, or seconds, in words.
        must: What must be reached, in words.
        reached: Whether it was.
        note: What else is worth a line: the peers' speeds, batches, what went wrong.
        details: The numbers behind it.
    """

    figure: str
    must: str
    reached: bool
    note: str
    details: dict[str, object] = field(default_factory=dict)


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


def percentile(values: Iterable[float], share: float) -> float:
    """Return the value below which that share of the values lies; 0 when there are none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0
