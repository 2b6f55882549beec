"""Runs the real engine on a test's database."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from sweeperd.config.models import DatabaseConfig, HealthConfig, SweepConfig
from sweeperd.host.clock import Clock, SystemClock
from sweeperd.log.event import Event
from sweeperd.postgres.connect import Database
from sweeperd.sweep.guards.decide import GUARD_KEYS
from sweeperd.sweep.guards.hold_file import Holds
from sweeperd.sweep.once import run_once
from sweeperd.sweep.options import RunOptions
from sweeperd.sweep.outcome.memory import SweepMemory
from sweeperd.sweep.outcome.report import Report
from sweeperd.sweep.runner import Runner

EventT = TypeVar("EventT", bound=Event)


@dataclass
class Heard:
    """A listener that keeps what it hears."""

    events: list[Event] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: type[EventT]) -> list[EventT]:
        return [event for event in self.events if isinstance(event, kind)]


def settings(**given: Any) -> SweepConfig:
    plain: dict[str, Any] = {
        "name": "s",
        "database": "app",
        "table": "public.t",
        "column": "expires_at",
        "keep": timedelta(0),
    }
    return SweepConfig(**(plain | given))


async def sweep(
    dsn: str,
    *,
    heard: Heard | None = None,
    memory: SweepMemory | None = None,
    stop: asyncio.Event | None = None,
    clock: Clock | None = None,
    release: bool = True,
    dry_run: bool = False,
    archives: Path | None = None,
    holds: Holds | None = None,
    report: Report | None = None,
    health: HealthConfig | None = None,
    **given: Any,
) -> Report:
    """Run one sweep to its end; holds are let go unless a test is about them."""
    one = settings(**given)
    database = Database(
        DatabaseConfig(name="app", dsn=dsn, max_connections=8, health=health or HealthConfig())
    )
    report = report or Report(one.name, "00000000-test", memory=memory or SweepMemory())
    await run_once(
        Runner(
            one,
            database,
            clock or SystemClock(),
            listener=heard or Heard(),
            archives=archives,
            holds=holds,
        ),
        report,
        RunOptions(
            stop=stop or asyncio.Event(),
            released=_released(holds, one.name, release=release),
            dry_run=dry_run,
        ),
        timeout=one.timeout.total_seconds(),
        clock=clock or SystemClock(),
    )
    return report


def _released(holds: Holds | None, name: str, *, release: bool) -> Collection[str]:
    """Return what a run is not held for: all, or what a release in the state directory tells."""
    if release:
        return GUARD_KEYS
    found = holds.released(name) if holds is not None else None
    return found.kinds if found is not None else ()
