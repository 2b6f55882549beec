"""Waits that double."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

_FIRST_BACKOFF: Final = 0.25  # seconds
_LONGEST_BACKOFF: Final = 30.0


@dataclass
class Backoff:
    """Waits that double up to 30 s, with jitter so that instances do not march in step."""

    seconds: float = _FIRST_BACKOFF

    def next(self) -> float:
        """Return the next wait, seconds."""
        wait = self.seconds * random.uniform(0.75, 1.0)  # noqa: S311 - jitter, not a secret
        self.seconds = min(self.seconds * 2, _LONGEST_BACKOFF)
        return wait

    def reset(self) -> None:
        """Begin again after a success."""
        self.seconds = _FIRST_BACKOFF
