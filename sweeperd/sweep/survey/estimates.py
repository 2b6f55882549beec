"""How many expired rows the planner expects, where that decides how a leaf is swept."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from sweeperd.config.models import SweepConfig
from sweeperd.postgres.catalog import Column
from sweeperd.postgres.sql import catalog as sql_catalog
from sweeperd.postgres.sql import rows as sql
from sweeperd.postgres.sql.rows import Target
from sweeperd.postgres.transaction import Connection, fetchval
from sweeperd.sweep.survey.target import Leaf

Estimates = dict[tuple[str, str], float]


async def expired_estimates(
    connection: Connection,
    sweep: SweepConfig,
    column: Column | None,
    *,
    root: int,
    target: Target,
    leaves: Sequence[Leaf],
) -> Estimates:
    """Return how many expired rows the planner expects by leaf, without asking foreign servers.

    It may ask those of foreign partitions when it plans the parent. Nothing is asked where no leaf
    has a choice.

    Args:
        connection: In a transaction that reads rows; a parallel plan would tell rows per worker.
        sweep: The sweep.
        column: Its column; None where it has a condition.
        root: OID of its table.
        target: What goes from the table as a whole.
        leaves: What is swept.
    """
    if column is None or sweep.strategy != "auto":
        return {}
    if not any(leaf.has_choice(column) for leaf in leaves):
        return {}
    if len(leaves) == 1 and leaves[0].target == target:
        return await estimate(connection, target)
    if not await connection.fetchval(sql_catalog.FOREIGN_BELOW, root):
        return await estimate(connection, target)
    estimates: Estimates = {}
    for leaf in leaves:
        estimates |= await estimate(connection, leaf.target)
    return estimates


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
