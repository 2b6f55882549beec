"""Chooses how each leaf is swept, from catalogue statistics, and says why."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from sweeperd.config.models import SweepConfig
from sweeperd.errors import SweepError
from sweeperd.postgres.catalog import Column, Index, Relation, Server
from sweeperd.postgres.sql.expired import quote
from sweeperd.sweep.outcome.progress import LeafProgress
from sweeperd.sweep.plan.recheck import ROWS_PER_BLOCK_WORTH, SecondLook
from sweeperd.sweep.survey.estimates import Estimates
from sweeperd.sweep.survey.survey import Survey
from sweeperd.sweep.survey.target import TINY_BLOCKS, Leaf

_CACHE_SHARE: Final = 0.25
_ROUND_SECONDS: Final = 8.0
# Expired rows lie close together: a sample of blocks meets more of them, or fewer, by chance.
_SPREAD: Final = 2.0
_UNSEEN: Final = 3.0  # none seen among n is as likely as one in 20 if 3 / n are expired


@dataclass(frozen=True)
class Choice:
    """A leaf's strategy and why.

    Attributes:
        leaf: The leaf.
        strategy: index or heap.
        reason: Why, as a sentence.
        expected: Expired rows that statistics tell of; None when nobody asked them, so that
            there is nothing to look at twice.
        most_expired: Share of the rows that may be expired, as far as the sample tells.
    """

    leaf: Leaf
    strategy: str
    reason: str
    expected: float | None
    most_expired: float = 1.0

    @property
    def second_look(self) -> SecondLook | None:
        """What the first batches are compared with; None for what an operator insists on."""
        if self.expected is None:
            return None
        return SecondLook(self.strategy, self.expected, self.leaf.blocks)


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
    if leaf.blocks <= TINY_BLOCKS:
        return Choice(leaf, "heap", f"the table has {leaf.blocks} blocks only", None)
    return _weigh(leaf, index, estimates.get((leaf.relation.schema, leaf.relation.name), 0.0))


def continued(
    choice: Choice, sweep: SweepConfig, column: Column | None, known: LeafProgress
) -> Choice:
    """Return a choice that goes on where the pass is in a leaf, by the strategy that it began with.

    Statistics may tell otherwise by now; what is left is little against beginning again.
    """
    begun = known.strategy
    if (
        sweep.strategy != "auto"
        or known.state != "at a position"
        or begun in {None, choice.strategy}
    ):
        return choice
    leaf = choice.leaf
    served = column is not None and any(index.serves(column) for index in leaf.indexes)
    if (begun == "heap" and not leaf.one_heap) or (begun == "index" and not served):
        return choice
    reason = f"the pass is in the midst of it by {begun}"
    return replace(choice, strategy=str(begun), reason=reason, expected=None)


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
    # with ``where`` the rows that go are not those that are read
    expected = expired if leaf.target.where is None else None
    if expired <= worth:
        reason = (
            f"about {expired:.0f} rows are expired, few for {leaf.blocks} blocks; "
            f"index {index.name} finds them"
        )
        return Choice(leaf, "index", reason, expected)
    reason = f"about {expired:.0f} rows are expired in {leaf.blocks} blocks, a backlog"
    return Choice(leaf, "heap", reason, expected)


def _create_index(relation: Relation, column: Column) -> str:
    return f"CREATE INDEX CONCURRENTLY ON {relation.shown} ({quote(column.name)})"


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


def plan(sweep: SweepConfig, found: Survey) -> list[Choice]:
    """Choose the strategy of each leaf."""
    chosen = [choose(sweep, leaf, found.column, found.estimates) for leaf in found.leaves]
    most = _most_expired(found)
    return [replace(with_read_budget(one, found.server), most_expired=most) for one in chosen]


def _most_expired(found: Survey) -> float:
    """Return a share of expired rows that a sample like this one hardly comes of more than."""
    expired = found.expired.share * found.sampled
    return min((expired * _SPREAD + _UNSEEN) / max(found.sampled, 1), 1.0)
