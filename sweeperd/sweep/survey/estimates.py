"""How many expired rows the planner expects, where that decides how a leaf is swept."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from sweeperd.config.models import SweepConfig
from sweeperd.postgres.catalog import Column
from sweeperd.postgres.sql import catalog as sql_catalog
from sweeperd.postgres.sql import rows as sql
from sweeperd.postgres.sql.target import Target
from sweeperd.postgres.transaction import Connection, fetchval, savepoint
from sweeperd.sweep.survey.target import Leaf

# Expired rows by schema and name; a leaf that the planner excludes is not among them.
Estimates = dict[tuple[str, str], float]

# Planning locks each leaf that is not excluded, and each of its indexes, until the transaction
# ends. The server's table of locks has room for 6,400 by default, and others need it, too.
_MOST_LEAVES: Final = 256
_LEAVES_AT_ONCE: Final = 50


@dataclass(frozen=True)
class Expected:
    """What the planner expects of a table.

    Attributes:
        rows: Expired rows by leaf, where somebody asked.
        excluded: Leaves that hold no expired row, by their bounds or constraints.
    """

    rows: Estimates = field(default_factory=dict)
    excluded: frozenset[int] = frozenset()


async def expected_rows(
    connection: Connection,
    sweep: SweepConfig,
    column: Column | None,
    *,
    root: int,
    target: Target,
    leaves: Sequence[Leaf],
) -> Expected:
    """Return how many expired rows the planner expects by leaf, without asking foreign servers.

    It may ask those of foreign partitions when it plans the parent. Of leaves of their own nothing
    is asked where none has a choice.

    Args:
        connection: In a transaction that reads rows; a parallel plan would tell rows per worker.
        sweep: The sweep.
        column: Its column; None where it has a condition.
        root: OID of its table.
        target: What goes from the table as a whole.
        leaves: What is swept.
    """
    if column is None:
        return Expected()
    undecided = [leaf for leaf in leaves if leaf.has_choice(column) and sweep.strategy == "auto"]
    if len(leaves) == 1 and leaves[0].relation.oid == root:
        # a distributed table's plan names none of its shards
        return Expected(await estimate(connection, target)) if undecided else Expected()
    few = len(leaves) <= _MOST_LEAVES
    if few and not await connection.fetchval(sql_catalog.FOREIGN_BELOW, root):
        rows = await estimate(connection, target)
        if not rows:  # nothing can be expired, or an extension plans it in a way of its own
            return Expected()
        named = {(leaf.relation.schema, leaf.relation.name): leaf.relation.oid for leaf in leaves}
        return Expected(rows, frozenset(named[name] for name in named.keys() - rows.keys()))
    rows = {}
    for first in range(0, len(undecided), _LEAVES_AT_ONCE):
        async with savepoint(connection, undone=True):  # which gives the locks back
            for leaf in undecided[first : first + _LEAVES_AT_ONCE]:
                rows |= await estimate(connection, leaf.target)
    return Expected(rows)


async def estimate(connection: Connection, target: Target) -> Estimates:
    """Return how many expired rows the planner expects; it is asked once for all leaves.

    A leaf that it leaves out, for its bounds or constraints, has none. ``where`` is left out: a
    slice of the index reads each row whose column is past, whatever ``where`` says of it.
    """
    target = replace(target, where=None)
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
