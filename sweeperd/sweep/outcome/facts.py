"""What one run saw of the server and its settings, for the next run to compare with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict

from sweeperd.sweep.outcome.usual_load import STORED


@dataclass(frozen=True)
class Facts:
    """What one run saw of the world, to compare the next run with.

    Attributes:
        fingerprint: Of table, column, unit, zone, keep, where and condition.
        cutoff: Microseconds since 2000-01-01 UTC.
        elapsed: Boot-time clock at the cutoff, seconds.
        boot: Identity of the boot that ``elapsed`` counts from.
        system_identifier: None when the role may not read it.
        timeline: None when it cannot be read.
        wal: WAL position in bytes; None on a standby or when it cannot be read.
        oid: The table's.
        next_xid: The first transaction id that was not yet assigned; None on a standby.
        committed_xid: Of the newest batch that committed. A server whose next id is not above
            it has lost that batch, however much WAL it has written since.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STORED

    fingerprint: str
    cutoff: int
    elapsed: float
    boot: str | None
    system_identifier: int | None
    timeline: str | None
    wal: int | None
    oid: int
    next_xid: int | None = None
    committed_xid: int | None = None
