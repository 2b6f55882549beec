"""Chooses how each leaf is swept, from catalogue statistics, and says why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from sweeperd.config.models import SweepConfig
from sweeperd.errors import SweepError
from sweeperd.postgres.catalog import Column, Index, Relation, Server
from sweeperd.postgres.sql import rows as sql
from sweeperd.postgres.sql.expired import Condition, Expired, may_read_tables, quote
from sweeperd.postgres.sql.rows import Table, Target
from sweeperd.postgres.transaction import Connection, fetchval
from sweeperd.sweep.lanes.chain import ChainLane
from sweeperd.sweep.lanes.heap import HeapLane, share
from sweeperd.sweep.lanes.index import IndexLane
from sweeperd.sweep.lanes.lane import Lane
from sweeperd.sweep.plan.recheck import ROWS_PER_BLOCK_WORTH, SecondLook

_TINY_BLOCKS: Final = 64
# Leaves below this size (32 MB) share batches; larger ones are worth lanes of their own.
_CHAINED_BLOCKS: Final = 4_096
_FEWEST_CHAINED: Final = 2
_CACHE_SHARE: Final = 0.25
_ROUND_SECONDS: Final = 8.0


Estimates = dict[tuple[str, str], float]


@dataclass(frozen=True)
class Leaf:
    """One heap (or one table swept as a whole) and what is known of it.

    Attributes:
        relation: Its catalogue entry.
        target: What goes from it.
        blocks: Its size now; 0 where it is not one heap.
        indexes: Indexes that hold the column.
        one_heap: ctid names one row here.
    """

    relation: Relation
    target: Target
    blocks: int
    indexes: tuple[Index, ...]
    one_heap: bool


@dataclass(frozen=True)
class Choice:
    """A leaf's strategy and why.

    Attributes:
        leaf: The leaf.
        strategy: index or heap.
        reason: Why, as a sentence.
        expected: Expired rows that statistics tell of; None when nobody asked them, so that
            there is nothing to look at twice.
    """

    leaf: Leaf
    strategy: str
    reason: str
    expected: float | None

    @property
    def second_look(self) -> SecondLook | None:
        """What the first batches are compared with; None for what an operator insists on."""
        if self.expected is None:
            return None
        return SecondLook(self.strategy, self.expected, self.leaf.blocks)


def table_of(relation: Relation, root: Relation, *, whole: bool) -> Table:
    """Return the table for SQL; a leaf goes by the name the operator's ``where`` knows."""
    return Table(
        relation.schema,
        relation.name,
        only=not whole,
        alias=root.name if relation != root else None,
    )


def make_target(table: Table, expired: Expired | Condition, sweep: SweepConfig) -> Target:
    """Return what goes from a table."""
    elsewhere = may_read_tables(sweep.where) or may_read_tables(sweep.condition)
    return Target(table, expired, sweep.where, two_steps=elsewhere)


def choose(sweep: SweepConfig, leaf: Leaf, column: Column | None, estimates: Estimates) -> Choice:
    """Choose a leaf's strategy.

    Args:
        sweep: The sweep.
        leaf: The leaf.
        column: The column, unless the sweep has a condition instead.
        estimates: Expired rows that the planner expects, by leaf.

    Raises:
        SweepError: The strategy asked for cannot work here.
    """
    if column is None:
        return _by_condition(sweep, leaf)
    index = next((i for i in leaf.indexes if i.serves(column)), None)
    if not leaf.one_heap or sweep.strategy == "index":
        return _by_index(leaf, column, index)
    if sweep.strategy == "heap":
        return Choice(leaf, "heap", "strategy says so", None)
    if index is None:
        return Choice(leaf, "heap", f"no index leads with {column.name}", None)
    if leaf.blocks <= _TINY_BLOCKS:
        return Choice(leaf, "heap", f"the table has {leaf.blocks} blocks only", None)
    return _weigh(leaf, index, estimates.get((leaf.relation.schema, leaf.relation.name), 0.0))


def _by_index(leaf: Leaf, column: Column, index: Index | None) -> Choice:
    name, create = leaf.relation.shown, _create_index(leaf.relation, column)
    if leaf.one_heap:
        if index is None:
            raise SweepError(
                f'strategy = "index" needs a btree index that leads with {column.name} on {name}',
                cure=f'{create}, or strategy = "auto"',
            )
        return Choice(leaf, "index", "strategy says so", None)
    if index is None:
        raise SweepError(
            f"{name} can only be swept by slices of {column.name}, and no index serves them",
            cure=create,
        )
    return Choice(leaf, "index", f"{name} is swept as a whole, by slices", None)


def _by_condition(sweep: SweepConfig, leaf: Leaf) -> Choice:
    if not leaf.one_heap or sweep.strategy == "index":
        raise SweepError(
            f"{leaf.relation.shown} has a condition and no column: only block ranges can sweep it",
            cure="give column and keep, with the rest of the condition as where",
        )
    return Choice(leaf, "heap", "a condition is looked for in block ranges", None)


def _weigh(leaf: Leaf, index: Index, expired: float) -> Choice:
    worth = leaf.blocks * ROWS_PER_BLOCK_WORTH
    if expired <= worth:
        reason = (
            f"about {expired:.0f} rows are expired, few for {leaf.blocks} blocks; "
            f"index {index.name} finds them"
        )
        return Choice(leaf, "index", reason, expired)
    reason = f"about {expired:.0f} rows are expired in {leaf.blocks} blocks, a backlog"
    return Choice(leaf, "heap", reason, expired)


async def estimate(connection: Connection, target: Target) -> Estimates:
    """Return how many expired rows the planner expects; it is asked once for all leaves.

    A leaf that it leaves out, for its bounds or constraints, has none.
    """
    await connection.execute(sql.PLAN_ALONE)
    plan = json.loads(await fetchval(connection, sql.estimate(target)))
    return {
        (node["Schema"], node["Relation Name"]): float(node["Plan Rows"])
        for node in _nodes(plan[0]["Plan"])
        if "Relation Name" in node
    }


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from _nodes(inner)


def _create_index(relation: Relation, column: Column) -> str:
    return f"CREATE INDEX CONCURRENTLY ON {relation.shown} ({quote(column.name)})"


def lanes(
    choices: list[Choice], sweep: SweepConfig, server: Server, saved: dict[str, object]
) -> list[tuple[Choice, Lane]]:
    """Return the lanes of all leaves, each at its saved cursor, with the choice it stems from."""
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
            parts = min(sweep.workers, max(choice.leaf.blocks // _TINY_BLOCKS, 1))
            # lanes side by side would each decide again
            heap = choice if parts == 1 else replace(choice, expected=None)
            made += [
                (heap, _heap_lane(choice.leaf, server, saved, (number, parts)))
                for number in range(parts)
            ]
    for number in range(sweep.workers if chained else 0):
        mine = chained[number :: sweep.workers]
        name = f"leaves:heap:{number}/{sweep.workers}"
        if mine:
            links = [_heap_lane(choice.leaf, server, {}, (0, 1)) for choice in mine]
            made.append((replace(mine[0], expected=None), ChainLane(name, links, saved.get(name))))
    return made


def read_budget(leaf: Leaf, server: Server) -> float | None:
    """Return blocks per second at which a heap that yields little may be read; None for any.

    A TID Range Scan reads through shared buffers without a sequential scan's ring. A page in use
    survives if it is used between two rounds of the clock hand, so a round takes a while.
    """
    if leaf.blocks <= server.shared_buffers * _CACHE_SHARE:
        return None
    return server.shared_buffers / _ROUND_SECONDS


def with_read_budget(choice: Choice, server: Server) -> Choice:
    """Say in the reason how fast a large heap is read while it yields little."""
    budget = read_budget(choice.leaf, server)
    if budget is None or choice.strategy != "heap":
        return choice
    megabytes = budget * server.block_size / 2**20
    return replace(
        choice,
        reason=f"{choice.reason}; blocks with few expired rows are read at {megabytes:.0f} MB/s, "
        "for all of them would push others out of the cache",
    )


def _heap_lane(
    leaf: Leaf, server: Server, saved: dict[str, object], part: tuple[int, int]
) -> HeapLane:
    number, parts = part
    name = f"{leaf.relation.oid}:heap:{number}/{parts}"
    cursor = saved.get(name)
    known = leaf.relation
    return HeapLane(
        name,
        leaf.target,
        share(leaf.blocks, number, parts),
        block_size=server.block_size,
        rows_per_block=max(known.tuples, 0.0) / known.pages if known.pages else 0.0,
        read_budget=read_budget(leaf, server),
        cursor=cursor if isinstance(cursor, list) else None,
    )
