"""Signals as events of the loop.

A handler only sets an event: whatever the daemon is doing, the wish is noted and
nothing runs inside the handler. The handlers live exactly as long as the context.
"""

from __future__ import annotations

import asyncio
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sweeperd.host.early_signals import deliver_signals, hold_signals, set_mask

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_STOPPING = (signal.SIGTERM, signal.SIGINT)


class ReloadRequests:
    """Reloads asked for; those that come while one runs become one more."""

    def __init__(self) -> None:
        self._wished = asyncio.Event()

    def wish(self) -> None:
        """Ask for a reload."""
        self._wished.set()

    async def next(self) -> None:
        """Wait for a wish and take all there are.

        They are taken before the reload reads its files, so whatever was written before
        a signal is read after it.
        """
        await self._wished.wait()
        self._wished.clear()


@dataclass(frozen=True)
class Signals:
    """What the process was asked to do.

    Attributes:
        stop: Set by the first SIGTERM or SIGINT: end at the batch's edge.
        force: Set by the second one: cancel what runs.
        reloads: SIGHUP.
    """

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    force: asyncio.Event = field(default_factory=asyncio.Event)
    reloads: ReloadRequests = field(default_factory=ReloadRequests)

    def end(self) -> None:
        """Note one more wish to end."""
        (self.force if self.stop.is_set() else self.stop).set()


@contextmanager
def handled_signals() -> Iterator[Signals]:
    """Turn signals into events, for the daemon; the former handlers come back at the end.

    Must be entered in the main thread, on the running loop. Signals that `hold_signals` made
    wait are delivered now; at the end they wait again, for a process that ends cleanly must not
    be ended by one more signal.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    former = {signal.SIGHUP: signal.getsignal(signal.SIGHUP)}
    with stop_signals(stop) as force:
        signals = Signals(stop=stop, force=force)
        loop.add_signal_handler(signal.SIGHUP, signals.reloads.wish)
        # in other threads they stay blocked: there they would act once the handlers are gone
        loop.set_default_executor(ThreadPoolExecutor(initializer=hold_signals))
        mask = deliver_signals()
        try:
            yield signals
        finally:
            set_mask(mask)
            _restore(loop, former)


@contextmanager
def stop_signals(stop: asyncio.Event) -> Iterator[asyncio.Event]:
    """Let SIGTERM or SIGINT set ``stop``, for foreground commands.

    Yields:
        The event that a second one sets.
    """
    loop = asyncio.get_running_loop()
    signals = Signals(stop=stop)
    former = {number: signal.getsignal(number) for number in _STOPPING}
    for number in _STOPPING:
        loop.add_signal_handler(number, signals.end)
    try:
        yield signals.force
    finally:
        _restore(loop, former)


def _restore(loop: asyncio.AbstractEventLoop, former: Mapping[signal.Signals, Any]) -> None:
    for number, handler in former.items():
        loop.remove_signal_handler(number)
        signal.signal(number, handler)
