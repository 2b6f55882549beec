"""A sweep's memory as the state file of earlier versions had it."""

from __future__ import annotations

from dataclasses import asdict

from sweeperd.daemon.state.memory import MEMORY_VERSION
from sweeperd.sweep.outcome.memory import SweepMemory


def memory_to_json(memory: SweepMemory) -> dict[str, object]:
    """Return a memory as JSON-able fields with their version."""
    return {"version": MEMORY_VERSION, **asdict(memory)}
