"""What one run saw of the server and its settings, for the next run to compare with."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from sweeperd.config.models import SweepConfig


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

    def as_json(self) -> dict[str, Any]:
        """Return JSON-able fields."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: object) -> Facts | None:
        """Read facts back; None when there are none.

        Raises:
            ValueError: There are, and they cannot be understood.
        """
        if stored is None or stored == {}:
            return None
        if not isinstance(stored, dict):
            raise ValueError("the guards' facts are not an object")  # noqa: TRY004 - as below
        # an early batch may have left the id of its transaction before there were other facts
        if stored.keys() <= {"committed_xid"}:
            return None
        try:
            return cls(**stored).checked()
        except TypeError as error:
            raise ValueError(str(error)) from error

    def checked(self) -> Facts:
        """Return the facts, if each has the type that it should have.

        Raises:
            ValueError: One has not.
        """
        for name, kinds in _KINDS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, kinds):
                raise ValueError(f"{name} is {value!r}")  # noqa: TRY004 - one error means "damaged"
        return self


_NUMBER = (int, float)
_MAYBE = (int, type(None))
_KINDS: dict[str, tuple[type, ...]] = {
    "fingerprint": (str,),
    "cutoff": (int,),
    "elapsed": _NUMBER,
    "boot": (str, type(None)),
    "system_identifier": _MAYBE,
    "timeline": (str, type(None)),
    "wal": _MAYBE,
    "oid": (int,),
    "next_xid": _MAYBE,
    "committed_xid": _MAYBE,
}


def fingerprint(sweep: SweepConfig, unit: str, column_type: str) -> str:
    """Return a hash of what decides which rows go; ``unit`` is the one in force."""
    keep = sweep.keep.total_seconds() if sweep.keep is not None else None
    decides = [
        sweep.table, sweep.column, unit, column_type, sweep.column_timezone,
        keep, sweep.where, sweep.condition,
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:16]


def was_promoted(now: Facts, last: Facts | None) -> bool:
    """Whether a standby of the same system has taken over since the last run."""
    known = last is not None and now.timeline is not None and last.timeline is not None
    return bool(known and last and now.timeline != last.timeline)


def unguarded(now: Facts) -> list[str]:
    """Name what this role cannot read and so cannot be guarded."""
    names = []
    if now.system_identifier is None:
        names.append("system identifier: GRANT EXECUTE ON FUNCTION pg_control_system()")
    if now.wal is None:
        names.append("WAL position")
    return names
