"""Which sweep goes first: ``before`` as an order, for tables whose rows refer to each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter

from sweeperd.config.models import SweepConfig


def predecessors(sweeps: Iterable[SweepConfig]) -> dict[str, tuple[str, ...]]:
    """Return, by sweep, the enabled sweeps that name it in their ``before``."""
    first: dict[str, list[str]] = {}
    known = list(sweeps)
    for sweep in known:
        for later in dict.fromkeys(sweep.before) if sweep.enabled else ():
            first.setdefault(later, []).append(sweep.name)
    return {one.name: tuple(first.get(one.name, ())) for one in known}


def in_order(sweeps: Iterable[SweepConfig]) -> list[SweepConfig]:
    """Return the sweeps such that each comes after those that go before it; else as they were.

    Raises:
        CycleError: They go in a circle.
    """
    by_name = {sweep.name: sweep for sweep in sweeps}
    sorter = _sorter(by_name)
    sorter.prepare()
    ordered: list[SweepConfig] = []
    while sorter.is_active():
        found = set(sorter.get_ready())
        ready = [name for name in by_name if name in found]
        ordered += [by_name[name] for name in ready]
        sorter.done(*ready)
    return ordered


def circle(sweeps: Mapping[str, SweepConfig]) -> list[str]:
    """Return names that go before each other in a circle, the first once more at its end."""
    try:
        _sorter(sweeps).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def _sorter(sweeps: Mapping[str, SweepConfig]) -> TopologicalSorter[str]:
    sorter: TopologicalSorter[str] = TopologicalSorter(dict.fromkeys(sweeps, ()))
    for sweep in sweeps.values():
        for successor in sweep.before:
            if successor in sweeps:
                sorter.add(successor, sweep.name)
    return sorter
