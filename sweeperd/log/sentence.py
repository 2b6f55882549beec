"""A log line as a plain sentence: what ``journalctl -u sweeperd`` and the demo show a person."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Final

from sweeperd.log import daemon_events, events, metrics_events, run_events, vacuum_events
from sweeperd.log.event import Event


def sentence(name: str, fields: Mapping[str, object]) -> str:
    """Return the sentence of a line; of an unknown event, its name with the fields."""
    kind = EVENTS.get(name)
    if kind is not None:
        return kind.from_fields(fields).sentence()
    rest = " ".join(f"{key}={value}" for key, value in fields.items() if value is not None)
    return f"{name} {rest}".strip()


def _named(*modules: ModuleType) -> dict[str, type[Event]]:
    """Return the events that are logged: those that have a name."""
    found = [value for module in modules for value in vars(module).values()]
    return {
        kind.name: kind
        for kind in found
        if isinstance(kind, type) and issubclass(kind, Event) and hasattr(kind, "name")
    }


EVENTS: Final = _named(daemon_events, events, metrics_events, run_events, vacuum_events)
