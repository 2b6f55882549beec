from __future__ import annotations

import asyncio
import os
import signal

import pytest

from sweeperd.host.signals import handled_signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_first_asks_to_end_and_the_second_forces(number: signal.Signals) -> None:
    with handled_signals() as signals:
        os.kill(os.getpid(), number)
        await signals.stop.wait()
        assert not signals.force.is_set()
        os.kill(os.getpid(), number)
        await signals.force.wait()


async def test_a_reload_wished_during_a_reload_is_not_lost() -> None:
    with handled_signals() as signals:
        os.kill(os.getpid(), signal.SIGHUP)
        await signals.reloads.next()
        # the reload runs now, and another wish comes
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGHUP)
        await signals.reloads.next()
        waiting = asyncio.create_task(signals.reloads.next())
        await asyncio.sleep(0)
        assert not waiting.done()
        signals.reloads.wish()
        await waiting


async def test_former_handlers_come_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)]
    with handled_signals():
        pass

    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)] == before
