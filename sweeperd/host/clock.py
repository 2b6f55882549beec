"""Time as an object, so that hours of schedule can be tested in milliseconds."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Clock(Protocol):
    """What the rest of sweeperd knows of time."""

    def now(self) -> datetime:
        """Return the host's wall time, UTC."""

    def elapsed(self) -> float:
        """Return seconds that pass while the host is suspended, too, and never step."""

    def boot(self) -> str | None:
        """Return the identity of the boot that ``elapsed`` counts from; None if unknown."""

    async def sleep(self, seconds: float) -> None:
        """Wait that long; a cancelled wait ends at once."""


class SystemClock:
    """The host's own clocks.

    ``elapsed`` reads CLOCK_BOOTTIME: it counts suspend and no one can set it
    (clock_gettime(2)).
    """

    def now(self) -> datetime:
        """Return the host's wall time, UTC."""
        return datetime.now(UTC)

    def elapsed(self) -> float:
        """Return seconds since boot, suspend included."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def boot(self) -> str | None:
        """Return the kernel's name for this boot; None where it does not say."""
        return boot_id()

    async def sleep(self, seconds: float) -> None:
        """Wait that long on the event loop."""
        await asyncio.sleep(seconds)


def monotonic_usec() -> int:
    """Return CLOCK_MONOTONIC in microseconds, the clock in which systemd dates a reload."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def boot_id() -> str | None:
    """Return what names this boot of the host, or None where the kernel does not say.

    Elapsed seconds of two processes can be compared only within one boot.
    """
    try:
        return _BOOT_ID.read_text("ascii").strip() or None
    except OSError:
        return None
