"""The lanes of a run: what the pass has left of each leaf, beginning with the one in turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from sweeperd.config.models import SweepConfig
from sweeperd.postgres.catalog import Server
from sweeperd.sweep.lanes.blocks import shares
from sweeperd.sweep.lanes.chain import ChainLane
from sweeperd.sweep.lanes.heap import HeapLane
from sweeperd.sweep.lanes.index import IndexLane
from sweeperd.sweep.lanes.lane import Lane
from sweeperd.sweep.outcome.progress import Place
from sweeperd.sweep.outcome.sweep_pass import SweepPass
from sweeperd.sweep.plan.strategy import Choice, read_budget
from sweeperd.sweep.survey.target import TINY_BLOCKS

# Leaves below this size (32 MB) share batches; larger ones are worth lanes of their own.
_CHAINED_BLOCKS: Final = 4_096
_FEWEST_CHAINED: Final = 2


def lanes(
    choices: Sequence[Choice], sweep: SweepConfig, server: Server, sweep_pass: SweepPass
) -> list[tuple[Choice, Lane]]:
    """Return the lanes of leaves, each from where the pass stands, in the order of the choices.

    Each has the choice that it stems from. Small heaps share lanes, which stand where the first of
    these heaps does.
    """
    for choice in choices:
        sweep_pass.plan(choice.leaf.key, choice.strategy)
    choices = [one for one in choices if sweep_pass.is_open(one.leaf.key)]
    chained = [c for c in choices if c.strategy == "heap" and c.leaf.blocks < _CHAINED_BLOCKS]
    if len(chained) < _FEWEST_CHAINED:
        chained = []
    made: list[tuple[Choice, Lane]] = []
    for choice in choices:
        if choice.strategy == "index":
            made.append((choice, _index_lane(choice, sweep_pass)))
        elif choice not in chained:
            made += _heap_lanes(choice, sweep, server, sweep_pass)
        elif choice is chained[0]:
            made += _chains(chained, sweep.workers, server, sweep_pass)
    return made


def _index_lane(choice: Choice, sweep_pass: SweepPass) -> IndexLane:
    leaf = choice.leaf
    after = sweep_pass[leaf.key].value
    name = f"{leaf.key}:index"
    return IndexLane(name, leaf.target, leaf=leaf.key, has_places=leaf.one_heap, after=after)


def _heap_lanes(
    choice: Choice, sweep: SweepConfig, server: Server, sweep_pass: SweepPass
) -> list[tuple[Choice, Lane]]:
    parts = min(sweep.workers, max(choice.leaf.blocks // TINY_BLOCKS, 1))
    found = shares(sweep_pass.gaps(choice.leaf.key), parts)
    # lanes side by side would each decide again
    heap = choice if len(found) == 1 else replace(choice, expected=None)
    return [
        (heap, _heap_lane(choice, server, sweep_pass, share, f"{number}/{len(found)}"))
        for number, share in enumerate(found)
    ]


def _chains(
    chained: list[Choice], workers: int, server: Server, sweep_pass: SweepPass
) -> list[tuple[Choice, Lane]]:
    made: list[tuple[Choice, Lane]] = []
    for number in range(workers):
        mine = chained[number::workers]
        links = [
            _heap_lane(choice, server, sweep_pass, share, "0/1")
            for choice in mine
            for share in shares(sweep_pass.gaps(choice.leaf.key), 1)
        ]
        if links:
            chain = ChainLane(f"leaves:heap:{number}/{workers}", links)
            made.append((replace(mine[0], expected=None), chain))
    return made


def _heap_lane(
    choice: Choice, server: Server, sweep_pass: SweepPass, share: tuple[Place, int], part: str
) -> HeapLane:
    """Return a lane of one heap.

    Its advisory lock is known by the heap's file: in another file all rows have other places.
    """
    leaf, known = choice.leaf, choice.leaf.relation
    heap_file = sweep_pass[leaf.key].heap_file
    return HeapLane(
        f"{leaf.key}:heap {heap_file}:{part}",
        leaf.key,
        leaf.target,
        share,
        heap_file=heap_file,
        block_size=server.block_size,
        expired_per_block=max(known.tuples, 0.0) / known.pages * choice.most_expired
        if known.pages
        else 0.0,
        read_budget=read_budget(leaf, server),
    )
