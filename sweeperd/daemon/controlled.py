"""The daemon as requests on the control socket reach it: what each of them does."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from sweeperd import __version__
from sweeperd.config.values.wording import suggestion
from sweeperd.daemon.control.messages import JsonObject, RequestError
from sweeperd.log.safe_text import bounded, redact
from sweeperd.sweep.guards.told import hold_sentence

if TYPE_CHECKING:
    from pathlib import Path

    from sweeperd.daemon.configuration import Configuration, Reloaded
    from sweeperd.daemon.fleet import Fleet
    from sweeperd.daemon.supervisor import Supervisor
    from sweeperd.host.clock import Clock
    from sweeperd.sweep.guards.hold_file import Hold

# statuses made before the loop may turn again
_AT_ONCE: Final = 50


class ControlledDaemon:
    """Answers requests.

    Args:
        configuration: The one in force.
        fleet: The sweeps.
        reload: Reads the configuration again, after reloads that were asked for before.
        clock: Time.
    """

    def __init__(
        self,
        configuration: Configuration,
        fleet: Fleet,
        reload: Callable[[], Awaitable[Reloaded]],
        clock: Clock,
    ) -> None:
        self._configuration = configuration
        self._fleet = fleet
        self._reload = reload
        self._started_at = clock.now()

    @property
    def config_path(self) -> Path:
        """The configuration file."""
        return self._configuration.path

    async def status(self, sweep: str | None) -> JsonObject:
        """Return the daemon's state, and one sweep's or all sweeps'.

        Raises:
            RequestError: No sweep is called so.
        """
        found: list[JsonObject] = []
        for place, name in enumerate(self._fleet.sweeps() if sweep is None else [sweep]):
            status = self._fleet.sweep_status(name)
            if status is not None:
                found.append(status.as_json())
            elif sweep is not None:
                raise self._unknown(name)
            if place % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)
        return {"daemon": self._daemon(), "sweeps": found}

    async def reload(self) -> JsonObject:
        """Read the configuration again; return what changed once it is in force.

        Raises:
            RequestError: It was rejected.
        """
        reloaded = await self._reload()
        if reloaded.changes is None:
            raise RequestError(
                "rejected", reloaded.problems[0], {"problems": list(reloaded.problems)}
            )
        return {
            **asdict(reloaded.changes),
            "needs_restart": list(reloaded.restart_keys),
            "warnings": list(reloaded.warnings),
        }

    async def sweep(self, name: str, correlation_id: str | None) -> JsonObject:
        """Run a sweep now; return its report once the run has ended.

        Raises:
            RequestError: It does not run.
        """
        supervisor = self._fleet.supervisor(name)
        if supervisor is None:
            raise self._unknown(name) if name not in self._fleet.sweeps() else _disabled(name)
        supervisor.look_at_hold()
        if supervisor.hold is not None:
            raise _held(name, supervisor.hold)
        if supervisor.is_requested:
            told = f"a run of {name} is asked for already, and waits for the one under way"
            raise RequestError("already_requested", told)
        report = await supervisor.request_run(correlation_id)
        if report is None:
            raise _did_not_run(name, supervisor)
        return report

    async def look_at_holds(self) -> JsonObject:
        """See at once what was held or released."""
        self._fleet.look_at_holds()
        return {}

    def _daemon(self) -> JsonObject:
        return {
            "version": __version__,
            "pid": os.getpid(),
            "started_at": self._started_at.isoformat(timespec="seconds"),
            "config": str(self._configuration.path),
            "state_dir": str(self._configuration.config.daemon.state_dir),
            "rejected": list(self._configuration.problems) or None,
            "databases_away": {
                name: redact(bounded(reason)) for name, reason in self._fleet.outages().items()
            },
        }

    def _unknown(self, name: str) -> RequestError:
        hint = suggestion(name, self._fleet.sweeps())
        return RequestError("unknown_sweep", f"no sweep is called {bounded(name, 60)}: {hint}")


def _disabled(name: str) -> RequestError:
    return RequestError(
        "disabled",
        f"the sweep {name} has enabled = false, so the daemon does not run it; to run it once, in "
        f"the foreground: sweeperd sweep {name}",
    )


def _held(name: str, hold: Hold) -> RequestError:
    return RequestError("held", f"{name} is {redact(hold_sentence(hold))}")


def _did_not_run(name: str, supervisor: Supervisor) -> RequestError:
    if supervisor.hold is not None:
        return _held(name, supervisor.hold)
    return RequestError("stopping", f"{name} did not run: the daemon ends, or a reload removed it")
