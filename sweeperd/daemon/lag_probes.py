"""Looks at the retention lags of one database's sweeps between their runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from sweeperd.errors import SweeperdError
from sweeperd.postgres.sqlstate import SERVER_ERRORS, describe
from sweeperd.sweep.outcome.lag import RetentionLag
from sweeperd.sweep.preview.granted import AsIfGranted
from sweeperd.sweep.survey.retention_lag import LagProbe, retention_lag
from sweeperd.sweep.survey.survey import survey

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sweeperd.config.models import SweepConfig
    from sweeperd.host.clock import Clock
    from sweeperd.postgres.connect import Database
    from sweeperd.postgres.transaction import Connection
    from sweeperd.sweep.outcome.memory import SweepMemory

_SECONDS: Final = 1.0  # for which a connection is used
_UNTOLD: Final = RetentionLag(None, reason="a condition does not tell when a row expired")


class LagProbes:
    """What the last surveys found, so that a look costs two statements.

    Args:
        database: Where the tables are.
        clock: The host's clocks.
        memory_of: Returns what a sweep's last run left.
    """

    def __init__(
        self, database: Database, clock: Clock, memory_of: Callable[[str], SweepMemory]
    ) -> None:
        self._database = database
        self._clock = clock
        self._memory_of = memory_of
        self._probes: dict[str, LagProbe] = {}

    def keep(self, probe: LagProbe | None) -> None:
        """Keep what a run's survey found; None where it came to none."""
        if probe is not None:
            name = probe.sweep.name
            self._probes[name] = probe.after(self._probes.get(name))

    async def measure(self, sweeps: Sequence[SweepConfig]) -> dict[str, RetentionLag]:
        """Measure the lags of several sweeps on one connection; return them by name.

        After a second the connection is given back: the others are left out, as all are while
        every connection is in use.

        Raises:
            DatabaseUnreachableError: The database is away.
        """
        lags = {one.name: _UNTOLD for one in sweeps if one.column is None}
        left = [one for one in sweeps if one.column is not None]
        if not left or not self._database.has_free_slot:
            return lags
        loop = asyncio.get_running_loop()
        async with self._database.connection() as connection:
            end = loop.time() + _SECONDS
            for sweep in left:
                lags[sweep.name] = await self._try(connection, sweep)
                if loop.time() > end or connection.is_closed():
                    break
        return lags

    async def _try(self, connection: Connection, sweep: SweepConfig) -> RetentionLag:
        try:
            lag = await self._measure(connection, sweep)
        except (SweeperdError, *SERVER_ERRORS) as error:
            lag = RetentionLag(None, reason=describe(error))
        except Exception as error:  # noqa: BLE001 - one sweep's defect must not end the others
            lag = RetentionLag(None, reason=f"unexpected {type(error).__name__}: {error}")
        if lag.seconds is None:  # the table may have become another one
            self._probes.pop(sweep.name, None)
        return lag

    async def _measure(self, connection: Connection, sweep: SweepConfig) -> RetentionLag:
        probe = self._probes.get(sweep.name)
        if probe is None or probe.sweep != sweep:
            # SELECT is enough, so that the lag of a sweep which lost its DELETE is told
            config = self._database.config
            found = await survey(connection, sweep, config, self._clock, AsIfGranted)
            self.keep(LagProbe.of(sweep, found, self._memory_of(sweep.name)))
            probe = self._probes[sweep.name]
        return await retention_lag(connection, probe)
