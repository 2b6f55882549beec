"""The daemon: startup, main loop, shutdown. Read this first.

Everything is built here and handed down; the whole configuration goes no further than
the fleet.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from sweeperd import __version__
from sweeperd.config.values.credentials import keep_credentials
from sweeperd.daemon.configuration import Configuration
from sweeperd.daemon.connected import ConnectedDatabase
from sweeperd.daemon.control.endpoint import Endpoint, default_socket
from sweeperd.daemon.control.server import ControlServer
from sweeperd.daemon.controlled import ControlledDaemon
from sweeperd.daemon.fleet import Fleet
from sweeperd.daemon.lag_probes import LagProbes
from sweeperd.daemon.metrics.metrics import Metrics
from sweeperd.daemon.state.holds import holds_of, put_in_force
from sweeperd.daemon.state.ledger import Ledger
from sweeperd.daemon.state.store import StateStore
from sweeperd.host.loop_watch import watched_loop
from sweeperd.host.owner import become_owner_of
from sweeperd.host.permissions import refuse_exposed
from sweeperd.host.signals import handled_signals
from sweeperd.host.systemd import connected_notifier, watchdog_interval
from sweeperd.log.daemon_events import (
    DaemonForced,
    DaemonStarted,
    DaemonStopping,
    EventLoopBlocked,
    WatchdogSilent,
)
from sweeperd.log.event import emit
from sweeperd.postgres.connect import Database
from sweeperd.sweep.runner import ARCHIVES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from sweeperd.config.models import Config, DatabaseConfig
    from sweeperd.daemon.configuration import Reloaded
    from sweeperd.daemon.fleet import Changes, DatabaseHandle
    from sweeperd.host.clock import Clock
    from sweeperd.host.signals import Signals

# how often health is looked at without a watchdog, and holds always; seconds
_HEALTH_SECONDS = 15.0
_HOLDS_SECONDS = 1.0
# how often it is seen which retention lags are due to be measured; seconds
_LAGS_SECONDS = 30.0
# A stop takes 10 s at most: batches end by themselves well within the first part; what does
# not is cancelled, and a COMMIT under way has its own bound of 5 s.
_EDGE_SECONDS = 4.0
_CANCEL_SECONDS = 5.5
_EXTENSION_SECONDS = 10.0
# a status is for people; making it looks at each sweep
_STATUS_SECONDS = 1.0


def _tell_of_blocked_loop(seconds: float, stack: str) -> None:
    emit(EventLoopBlocked(round(seconds, 1), stack))


class Daemon:
    """The process of ``sweeperd run``.

    Args:
        path: The configuration file.
        clock: Time.
        environ: The process's environment.
        connect: Makes the link to a database; the real one by default.
    """

    def __init__(
        self,
        path: Path,
        clock: Clock,
        *,
        environ: Mapping[str, str] = os.environ,
        connect: Callable[[DatabaseConfig], DatabaseHandle] | None = None,
    ) -> None:
        self._path = path
        self._clock = clock
        self._environ = environ
        self._connect = connect or self._connected
        self._shown = ""
        self._changed = asyncio.Event()
        self._reload_waiters: list[asyncio.Future[Reloaded]] = []

    def _connected(self, settings: DatabaseConfig) -> ConnectedDatabase:
        archives = self._configuration.config.daemon.state_dir / ARCHIVES
        database = self._metrics.connections[settings.name] = Database(settings)
        probes = LagProbes(database, self._clock, lambda name: self._ledger.record(name).memory)
        return ConnectedDatabase(database, self._clock, archives, self._holds, probes)

    async def serve(self) -> None:
        """Run until SIGTERM or SIGINT.

        Raises:
            ConfigError: The configuration cannot be used at startup.
            StateLockedError: Another daemon owns the state directory.
        """
        with handled_signals() as signals, ExitStack() as stack:
            stack.enter_context(watched_loop(_tell_of_blocked_loop))
            self._startup(stack)
            self._control = self._controlled(signals)
            try:
                await self._main_loop(signals)
            finally:
                await self._shutdown(signals)

    def _startup(self, stack: ExitStack) -> None:
        """Read the configuration, own the state directory, start the loops."""
        self._configuration = Configuration(self._path)
        config = self._configuration.config
        keep_credentials()
        become_owner_of(config.daemon.state_dir, make=True)
        refuse_exposed(config.daemon.state_dir)
        store = StateStore(config.daemon.state_dir, self._clock.now, config.daemon.history)
        stack.enter_context(store.locked())
        self._notifier = stack.enter_context(connected_notifier(self._environ))
        self._ledger = Ledger(store)
        self._holds = holds_of(config.daemon.state_dir, self._clock.now, self._ledger.record)
        put_in_force(self._holds, self._ledger.loaded, config.sweeps)
        self._ledger.settle()
        self._fleet = Fleet(
            self._connect, self._ledger, self._holds, self._clock, on_change=self._changed.set
        )
        self._metrics = Metrics(self._fleet.now, self._clock)
        stack.enter_context(self._metrics.shown(config.daemon))
        enabled = sum(sweep.enabled for sweep in config.sweeps.values())
        emit(DaemonStarted(__version__, os.getpid(), enabled, str(self._path)))
        self._configuration.warn()
        self._apply(config)

    def _controlled(self, signals: Signals) -> ControlServer:
        daemon = self._configuration.config.daemon
        return ControlServer(
            Endpoint(daemon.socket or default_socket(daemon.state_dir)),
            ControlledDaemon(
                self._configuration, self._fleet, partial(self._reload, signals), self._clock
            ),
            self._clock,
        )

    async def _main_loop(self, signals: Signals) -> None:
        """Work until asked to stop; a side task that fails ends it, and systemd restarts."""
        await self._control.open()
        self._shown = self._status()
        self._notifier.ready(self._shown)
        tasks = [
            asyncio.create_task(work, name=name)
            for name, work in (
                ("stop", signals.stop.wait()),
                ("watchdog", self._feed_watchdog()),
                ("holds", self._look_at_holds()),
                ("lags", self._measure_lags()),
                ("reload", self._reload_when_requested(signals)),
                ("status", self._show_status()),
                ("control", self._control.keep_open()),
                ("state", self._ledger.write_behind()),
            )
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _shutdown(self, signals: Signals) -> None:
        """End every run at the batch's edge; what takes too long is cancelled."""
        self._notifier.stopping("ending at the batch's edge")
        self._metrics.pulse.stop()
        emit(DaemonStopping("asked to stop" if signals.stop.is_set() else "a defect"))
        self._control.begin_to_close()
        self._fleet.stop()
        ending = asyncio.create_task(self._end_runs(signals))
        while not ending.done():
            self._notifier.extend_timeout(_EXTENSION_SECONDS)
            await asyncio.wait({ending}, timeout=1.0)
        # whoever waits for a run hears how it ended
        await self._control.close()
        await self._fleet.close()
        self._ledger.flush()

    async def _end_runs(self, signals: Signals) -> None:
        forced = asyncio.create_task(signals.force.wait())
        ended = asyncio.create_task(self._fleet.ended())
        await asyncio.wait(
            {forced, ended}, timeout=_EDGE_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        if not ended.done():
            why = "a second signal" if forced.done() else f"no edge within {_EDGE_SECONDS:.0f} s"
            emit(DaemonForced(why))
            self._fleet.cancel()
            await asyncio.wait({ended}, timeout=_CANCEL_SECONDS)
        forced.cancel()
        ended.cancel()

    async def _feed_watchdog(self) -> None:
        """Tell the watchdog that all is well, as long as it is."""
        interval = watchdog_interval(self._environ, os.getpid())
        silent: list[str] = []
        while True:
            health_problems = self._fleet.health_problems(asyncio.get_running_loop().time())
            if health_problems and health_problems != silent:
                emit(WatchdogSilent("; ".join(health_problems)))
            silent = health_problems
            self._metrics.pulse.beat(health_problems, interval or _HEALTH_SECONDS)
            if interval is not None and not health_problems:
                self._notifier.watchdog()
            await self._clock.sleep(interval or _HEALTH_SECONDS)

    async def _look_at_holds(self) -> None:
        while True:
            self._fleet.look_at_holds()
            await self._clock.sleep(_HOLDS_SECONDS)

    async def _measure_lags(self) -> None:
        while True:
            await self._clock.sleep(_LAGS_SECONDS)
            await self._fleet.measure_lags()

    async def _reload_when_requested(self, signals: Signals) -> None:
        """Reload after SIGHUP or a request; systemd hears of READY before whoever asked does."""
        while True:
            await signals.reloads.next()
            asked, self._reload_waiters = self._reload_waiters, []
            self._notifier.reloading()
            reloaded = await self._configuration.reload(self._apply)
            self._shown = self._status()
            self._notifier.ready(self._shown)
            for waiter in asked:
                if not waiter.done():
                    waiter.set_result(reloaded)

    async def _reload(self, signals: Signals) -> Reloaded:
        """Ask for a reload, and wait for the one that reads what is in the files now."""
        waiter: asyncio.Future[Reloaded] = asyncio.get_running_loop().create_future()
        self._reload_waiters.append(waiter)
        signals.reloads.wish()
        return await waiter

    async def _show_status(self) -> None:
        """Show the status after changes: at once, then at most once a second however many."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            status = self._status()
            if status != self._shown:
                self._shown = status
                self._notifier.status(status)
            await self._clock.sleep(_STATUS_SECONDS)

    def _apply(self, config: Config) -> Changes:
        """Put a configuration in force."""
        self._ledger.keep_for(config.daemon.history)
        self._metrics.apply(config, self._ledger.record)
        return self._fleet.apply(config)

    def _status(self) -> str:
        rejected = self._configuration.rejected
        told = f"configuration rejected, the old one is in force: {rejected}" if rejected else ""
        return "; ".join(part for part in (told, self._fleet.status()) if part)
