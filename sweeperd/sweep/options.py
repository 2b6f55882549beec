"""What one run is asked for, beside what its sweep is configured to do."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field


@dataclass(frozen=True)
class RunOptions:
    """What whoever starts a run asks of it.

    Attributes:
        stop: When set, the run ends after its batch.
        max_rows: A cap beside the sweep's own.
        released: Kinds of reasons for which the run is not held, this once.
        dry_run: Count, and write nothing.
    """

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    max_rows: int | None = None
    released: Collection[str] = ()
    dry_run: bool = False
