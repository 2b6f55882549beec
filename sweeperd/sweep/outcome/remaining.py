"""What a whole pass left behind, by reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from sweeperd.log.event import counted

MOST_ROWS: Final = 10_000  # that are looked at in one leaf
_MOST_TOLD: Final = 10  # leaves and causes in one line

Reason = Literal[
    "referenced",
    "refused",
    "stepped over",
    "locked",
    "suppressed",
    "unreadable text",
    "leaf set aside",
]


@dataclass(frozen=True)
class Remaining:
    """Rows of one leaf that stay for one reason.

    Attributes:
        leaf: The leaf, qualified.
        reason: Why they stay.
        rows: How many, as far as was looked.
        by: Which constraint, trigger or trouble, and what to do about it; empty where the reason
            says it all.
        is_least: Whether there may be more.
        passes: Whether the reason may be gone soon, so that the next run should not wait long.
    """

    leaf: str
    reason: Reason
    rows: int
    by: str = ""
    is_least: bool = False
    passes: bool = False

    def __str__(self) -> str:
        many = "an unknown number of rows" if not self.rows else counted(self.rows, "row")
        if self.rows and self.is_least:
            many += " or more"
        if self.reason == "leaf set aside":
            return f"{self.leaf} was set aside with {many}: {self.by}"
        kept = {
            "referenced": "kept by a foreign key",
            "refused": "refused by the database",
            "stepped over": "stepped over among rows that are refused, for lack of time",
            "locked": "locked by other transactions",
            "suppressed": "left, without an error",
            "unreadable text": "of text that cannot be read as a time in UTC",
        }[self.reason]
        return f"{self.leaf}: {many} {kept}" + (f": {self.by}" if self.by else "")


def counts(remaining: Iterable[Remaining]) -> dict[str, int]:
    """Return the rows by reason."""
    by_reason: Counter[str] = Counter()
    for one in remaining:
        by_reason[one.reason] += one.rows
    return dict(by_reason)


def describe(remaining: Sequence[Remaining]) -> str:
    """Return one line that tells what stays; empty when nothing does."""
    told = "; ".join(str(one) for one in remaining[:_MOST_TOLD])
    more = len(remaining) - _MOST_TOLD
    return f"{told}; and {more} more" if more > 0 else told
