"""Chooses how each leaf is swept, from catalogue statistics, and says why."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from sweeperd.config.models import SweepConfig
from sweeperd.errors import SweepError
from sweeperd.postgres import sql
from sweeperd.postgres.catalog import Column, Index, Relation, Server
from sweeperd.postgres.predicate import Condition, Expired, may_read_tables, quote
from sweeperd.postgres.sql import Table, Target
from sweeperd.postgres.transaction import Connection, fetchval
from sweeperd.sweep.heap import HeapLane, share
from sweeperd.sweep.index import IndexLane
from sweeperd.sweep.lane import Lane

# A slice fetches one heap page for each expired row where the column is uncorrelated with
# the heap; a block range reads every page once, and sequentially.
_ROWS_PER_PAGE_WORTH: Final = 2.0
_TINY_BLOCKS: Final = 64


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
    """A leaf's strategy and why."""

    leaf: Leaf
    strategy: str
    reason: str
    expired: float | None


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


async def choose(
    connection: Connection, sweep: SweepConfig, leaf: Leaf, column: Column | None
) -> Choice:
    """Choose a leaf's strategy.

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
    return await _weigh(connection, leaf, index)


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


async def _weigh(connection: Connection, leaf: Leaf, index: Index) -> Choice:
    expired = await expected_rows(connection, leaf.target)
    worth = leaf.blocks * _ROWS_PER_PAGE_WORTH
    if expired <= worth:
        reason = (
            f"about {expired:.0f} rows are expired, few for {leaf.blocks} blocks; "
            f"index {index.name} finds them"
        )
        return Choice(leaf, "index", reason, expired)
    reason = f"about {expired:.0f} rows are expired in {leaf.blocks} blocks, a backlog"
    return Choice(leaf, "heap", reason, expired)


async def expected_rows(connection: Connection, target: Target) -> float:
    """Return the planner's estimate of expired rows."""
    plan = json.loads(await fetchval(connection, sql.estimate(target)))
    return float(plan[0]["Plan"]["Plan Rows"])


def _create_index(relation: Relation, column: Column) -> str:
    return f"CREATE INDEX CONCURRENTLY ON {relation.shown} ({quote(column.name)})"


def lanes(
    choice: Choice, sweep: SweepConfig, server: Server, saved: dict[str, object]
) -> list[Lane]:
    """Return the lanes of a leaf, each at its saved cursor."""
    leaf, oid = choice.leaf, choice.leaf.relation.oid
    if choice.strategy == "index":
        name = f"{oid}:index"
        return [IndexLane(name, leaf.target, has_places=leaf.one_heap, cursor=saved.get(name))]
    workers = min(sweep.workers, max(leaf.blocks // _TINY_BLOCKS, 1))
    made: list[Lane] = []
    for number in range(workers):
        name = f"{oid}:heap:{number}/{workers}"
        cursor = saved.get(name)
        made.append(
            HeapLane(
                name,
                leaf.target,
                share(leaf.blocks, number, workers),
                block_size=server.block_size,
                cursor=cursor if isinstance(cursor, list) else None,
            )
        )
    return made
