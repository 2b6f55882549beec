"""The lanes of a run: each leaf's, at its saved cursor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from sweeperd.config.models import SweepConfig
from sweeperd.postgres.catalog import Server
from sweeperd.sweep.lanes.blocks import block_range
from sweeperd.sweep.lanes.chain import ChainLane
from sweeperd.sweep.lanes.heap import HeapLane
from sweeperd.sweep.lanes.index import IndexLane
from sweeperd.sweep.lanes.lane import Lane
from sweeperd.sweep.outcome.memory import Cursor
from sweeperd.sweep.plan.strategy import Choice, read_budget
from sweeperd.sweep.survey.identity import Identity
from sweeperd.sweep.survey.target import TINY_BLOCKS

# Leaves below this size (32 MB) share batches; larger ones are worth lanes of their own.
_CHAINED_BLOCKS: Final = 4_096
_FEWEST_CHAINED: Final = 2


def lanes(
    choices: list[Choice],
    sweep: SweepConfig,
    server: Server,
    identity: Identity,
    saved: Mapping[str, Cursor],
) -> list[tuple[Choice, Lane]]:
    """Return the lanes of all leaves, each at its saved cursor, with the choice it stems from.

    A position in a heap is known by the heap's file: in another file, which VACUUM FULL, CLUSTER
    or TRUNCATE makes, all rows have other places.
    """
    made: list[tuple[Choice, Lane]] = []
    chained = [c for c in choices if c.strategy == "heap" and c.leaf.blocks < _CHAINED_BLOCKS]
    if len(chained) < _FEWEST_CHAINED:
        chained = []
    for choice in choices:
        if choice.strategy == "index":
            name, leaf = f"{choice.leaf.relation.oid}:index", choice.leaf
            lane = IndexLane(name, leaf.target, has_places=leaf.one_heap, cursor=saved.get(name))
            made.append((choice, lane))
        elif choice not in chained:
            parts = min(sweep.workers, max(choice.leaf.blocks // TINY_BLOCKS, 1))
            # lanes side by side would each decide again
            heap = choice if parts == 1 else replace(choice, expected=None)
            made += [
                (heap, _heap_lane(choice, server, identity, saved, (number, parts)))
                for number in range(parts)
            ]
    for number in range(sweep.workers if chained else 0):
        mine = chained[number :: sweep.workers]
        name = f"leaves:heap:{number}/{sweep.workers}"
        if mine:
            links = [_heap_lane(choice, server, identity, {}, (0, 1)) for choice in mine]
            made.append((replace(mine[0], expected=None), ChainLane(name, links, saved.get(name))))
    return made


def _heap_lane(
    choice: Choice,
    server: Server,
    identity: Identity,
    saved: Mapping[str, Cursor],
    part: tuple[int, int],
) -> HeapLane:
    (number, parts), leaf = part, choice.leaf
    name = f"{leaf.relation.oid}:heap {identity.heap_file(leaf.relation)}:{number}/{parts}"
    known = leaf.relation
    return HeapLane(
        name,
        leaf.target,
        block_range(leaf.blocks, number, parts),
        block_size=server.block_size,
        expired_per_block=max(known.tuples, 0.0) / known.pages * choice.most_expired
        if known.pages
        else 0.0,
        read_budget=read_budget(leaf, server),
        cursor=saved.get(name),
    )
