"""One run with its timeout, as the daemon and the foreground command both do it."""

from __future__ import annotations

import asyncio

from sweeperd.errors import EXIT_UNAVAILABLE
from sweeperd.host.clock import Clock
from sweeperd.sweep.options import RunOptions
from sweeperd.sweep.outcome.report import Report
from sweeperd.sweep.runner import Runner


async def run_once(
    runner: Runner,
    report: Report,
    options: RunOptions,
    *,
    timeout: float,  # noqa: ASYNC109 - it is the sweep's own setting
    clock: Clock,
) -> None:
    """Run once within ``timeout`` seconds; the report tells how it went.

    The time counts from the moment the run has its connection: other sweeps on the same
    database may have to end first.

    A timeout cancels the statement on the server and keeps what earlier batches committed. The
    retention lag is measured when the run is over, however it ended.
    """
    begun = clock.elapsed()
    try:
        async with runner.session(report, options.stop) as session:
            if session is None:
                report.finish("stopped", "asked to stop while it waited for a connection")
                return
            report.deadline = asyncio.get_running_loop().time() + timeout
            try:
                await asyncio.wait_for(runner.run(session, report, options), timeout)
            except TimeoutError:
                report.finish("timed_out", f"the timeout of {timeout:g} s is over")
            report.duration_seconds = clock.elapsed() - begun
            if not options.stop.is_set() and report.exit_code != EXIT_UNAVAILABLE:
                await runner.measure_lag(session, report)
    finally:
        report.duration_seconds = report.duration_seconds or clock.elapsed() - begun
