"""Signals that arrive before anything listens: they wait instead of ending the process.

Python needs half a second to import the daemon. A SIGHUP or SIGTERM of that time would end it
by its default action; blocked, it stays pending in the kernel until the handlers are there.
This module imports next to nothing, so that it can be the first to run.
"""

from __future__ import annotations

import signal
from typing import Final

HELD: Final = frozenset({signal.SIGHUP, signal.SIGTERM, signal.SIGINT})


def hold_signals() -> None:
    """Let SIGHUP, SIGTERM and SIGINT wait until `deliver_signals`.

    It acts on the calling thread and on those it starts. A thread beside the main one calls it,
    too: a signal is delivered to any thread that does not block it.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, HELD)


def deliver_signals() -> set[int]:
    """Let them through, those that waited first; return the former mask for `set_mask`."""
    return set(signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD))


def set_mask(mask: set[int]) -> None:
    """Put a mask back that `deliver_signals` returned."""
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
