"""The pass: one walk over all leaves of a table, over as many runs and workers as it takes.

Nothing here talks to a server. A pass belongs to what it was made under: with other settings, or
after a restore, it starts again; a leaf whose rows are in another file, or which was attached
elsewhere meanwhile, starts again alone. A leaf that is done stays done until the pass is over.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from sweeperd.sweep.outcome.memory import SweepMemory
from sweeperd.sweep.outcome.progress import (
    FRESH,
    ColumnValue,
    LeafProgress,
    PassHeader,
    Place,
    Stretch,
    gaps,
    joined,
)


class LeafFacts(Protocol):
    """What makes a leaf the one that was begun."""

    @property
    def ancestry(self) -> str | None:
        """Digest of the tables above it."""

    @property
    def columns(self) -> str | None:
        """Digest of the columns that decide."""

    @property
    def heap_file(self) -> str | None:
        """The file in which its rows are."""


@dataclass(frozen=True)
class Leaf:
    """A leaf as this run found it.

    Attributes:
        key: Names it in the pass: its OID.
        facts: What makes it the one that was begun; None where the server told nothing.
        blocks: The size of its heap; 0 where it is not one heap.
    """

    key: str
    facts: LeafFacts | None
    blocks: int


def pass_fingerprint(decides: str, oid: int, column: int | None, strategy: str) -> str:
    """Return a hash of what a pass belongs to.

    Args:
        decides: The fingerprint of the sweep's settings that decide which rows go.
        oid: The table's.
        column: The column's attribute number; None where the sweep has a condition.
        strategy: As configured.
    """
    parts = json.dumps([decides, oid, column, strategy])
    return hashlib.sha256(parts.encode()).hexdigest()[:16]


class SweepPass:
    """The pass of one run; each step is written to the sweep's memory at once.

    Args:
        memory: The sweep's; its header and leaves are this object's.
        fingerprint: See `pass_fingerprint`.
        cutoff: Of this run, microseconds since 2000-01-01 UTC.
        leaves: All leaves of the table, in order.
        again: Begin a new pass whatever the memory has, as after a restore.
    """

    def __init__(
        self,
        memory: SweepMemory,
        fingerprint: str,
        cutoff: int,
        leaves: Sequence[Leaf],
        *,
        again: bool = False,
    ) -> None:
        self._memory = memory
        header = memory.pass_header
        if again or header is None or header.fingerprint != fingerprint:
            memory.begin_pass(PassHeader(fingerprint, cutoff))
        self._header = memory.pass_header or PassHeader(fingerprint, cutoff)
        self._keys = [leaf.key for leaf in leaves]
        self._blocks = {leaf.key: leaf.blocks for leaf in leaves}
        known = memory.leaves
        memory.leaves = {leaf.key: _resumed(known.get(leaf.key), leaf.facts) for leaf in leaves}

    @property
    def cutoff(self) -> int:
        """Cutoff of the pass's first run, microseconds since 2000-01-01 UTC."""
        return self._header.cutoff

    def __getitem__(self, key: str) -> LeafProgress:
        return self._memory.leaves[key]

    @property
    def in_turn(self) -> list[str]:
        """The leaves to sweep, beginning with the one whose turn it is."""
        turn = self._header.turn
        start = self._keys.index(turn) if turn in self._keys else 0
        keys = self._keys[start:] + self._keys[:start]
        return [key for key in keys if self.is_open(key)]

    def is_open(self, key: str) -> bool:
        """Whether a leaf is neither done nor set aside nor gone."""
        known = self._memory.leaves.get(key)
        return known is not None and known.state in {"to do", "at a position"}

    @property
    def is_alone(self) -> bool:
        """Whether there is one leaf only."""
        return len(self._keys) == 1

    @property
    def done(self) -> list[str]:
        """The leaves that are done."""
        return [key for key, leaf in self._memory.leaves.items() if leaf.state == "done"]

    @property
    def set_aside(self) -> dict[str, str]:
        """Why leaves are set aside in this run."""
        return {
            key: leaf.reason or ""
            for key, leaf in self._memory.leaves.items()
            if leaf.state == "set aside"
        }

    def gaps(self, key: str) -> list[tuple[Place, Place]]:
        """Return what is left of a heap."""
        known = self[key]
        return gaps(known.stretches, min(known.blocks, self._blocks[key]))

    def plan(self, key: str, strategy: str) -> None:
        """Let a leaf be swept by a strategy: what another one did of it does not count.

        A heap without blocks is done.
        """
        if not self.is_open(key):
            return
        known = self[key]
        if known.strategy != strategy:
            fresh = LeafProgress(
                ancestry=known.ancestry,
                columns=known.columns,
                heap_file=known.heap_file,
                strategy=strategy,
                blocks=self._blocks[key],
                left_rows=known.left_rows,
            )
            self._set(key, fresh)
        if strategy == "heap" and not self.gaps(key):
            self.finish(key)

    def take_up(self, key: str) -> None:
        """Let the next run begin with the leaf behind this one."""
        if key in self._keys:
            behind = self._keys[(self._keys.index(key) + 1) % len(self._keys)]
            if behind != self._header.turn:
                self._header = replace(self._header, turn=behind)
                self._memory.pass_header = self._header

    def cover(self, key: str, heap_file: str | None, stretch: Stretch) -> None:
        """Take that a block range was swept and committed; of a former file it proves nothing."""
        if not self.is_open(key) or self[key].heap_file != heap_file:
            return
        known = self[key]
        stretches = joined(known.stretches, stretch)
        self._set(key, replace(known, state="at a position", stretches=stretches))
        if not self.gaps(key):
            self.finish(key)

    def reach(self, key: str, value: ColumnValue | None) -> None:
        """Take that all values of the column up to one were swept and committed."""
        if self.is_open(key):
            self._set(key, replace(self[key], state="at a position", value=value))

    def finish(self, key: str) -> None:
        """Take that a leaf is done."""
        if self.is_open(key):
            self._set(key, replace(self[key], state="done", value=None, stretches=()))

    def restart(self, key: str, facts: LeafFacts, blocks: int) -> None:
        """Begin a leaf again whose rows were written to another file."""
        if self.is_open(key):
            self._blocks[key] = blocks
            self._set(key, _identified(replace(FRESH, left_rows=self[key].left_rows), facts))

    def put_aside(self, key: str, reason: str) -> None:
        """Leave a leaf out for the rest of this run; the others go on."""
        if self.is_open(key):
            self._set(key, replace(self[key], state="set aside", reason=reason))

    def forget(self, key: str) -> None:
        """Take that a leaf was removed as a whole."""
        self._memory.leaves.pop(key, None)

    def stepped_over(self, key: str) -> None:
        """Take that rows of a leaf were left where they are."""
        if key in self._memory.leaves and not self[key].left_rows:
            self._set(key, replace(self[key], left_rows=True))

    def end(self) -> None:
        """The pass is over: the next run begins another one."""
        self._memory.begin_pass(None)

    def _set(self, key: str, leaf: LeafProgress) -> None:
        self._memory.leaves[key] = leaf


def _resumed(known: LeafProgress | None, facts: LeafFacts | None) -> LeafProgress:
    """Return a leaf's record at the beginning of a run; what was set aside is tried again."""
    if known is None:
        return _identified(FRESH, facts)
    now = _identified(known, facts)
    if now != known:
        return _identified(replace(FRESH, left_rows=known.left_rows), facts)
    if known.state != "set aside":
        return known
    at_start = known.value is None and not known.stretches
    return replace(known, state="to do" if at_start else "at a position", reason=None)


def _identified(leaf: LeafProgress, facts: LeafFacts | None) -> LeafProgress:
    if facts is None:
        return replace(leaf, ancestry=None, columns=None, heap_file=None)
    return replace(leaf, ancestry=facts.ancestry, columns=facts.columns, heap_file=facts.heap_file)
