"""One configured database with the runner on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweeperd.sweep.once import run_once
from sweeperd.sweep.runner import Runner

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sweeperd.config.models import SweepConfig
    from sweeperd.daemon.lag_probes import LagProbes
    from sweeperd.host.clock import Clock
    from sweeperd.log.event import Listener
    from sweeperd.postgres.connect import Database
    from sweeperd.sweep.guards.hold_file import Holds
    from sweeperd.sweep.options import RunOptions
    from sweeperd.sweep.outcome.lag import RetentionLag
    from sweeperd.sweep.outcome.report import Report


@dataclass(frozen=True)
class ConnectedDatabase:
    """One database with the runner on it."""

    database: Database
    clock: Clock
    archives: Path
    holds: Holds
    lag_probes: LagProbes

    async def probe(self) -> None:
        """Log in once."""
        async with self.database.connection():
            pass

    async def run(
        self,
        sweep: SweepConfig,
        report: Report,
        options: RunOptions,
        listener: Listener,
    ) -> None:
        """Run a sweep once, within its timeout."""
        runner = Runner(
            sweep,
            self.database,
            self.clock,
            listener=listener,
            archives=self.archives,
            holds=self.holds,
        )
        try:
            await run_once(
                runner, report, options, timeout=sweep.timeout.total_seconds(), clock=self.clock
            )
        finally:
            self.lag_probes.keep(runner.lag_probe)

    async def measure_lags(self, sweeps: Sequence[SweepConfig]) -> dict[str, RetentionLag]:
        """Measure retention lags between runs; return those that could be looked at, by name.

        Raises:
            DatabaseUnreachableError: The database is away.
        """
        return await self.lag_probes.measure(sweeps)
