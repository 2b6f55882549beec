"""What a run leaves for the next one of its sweep."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import ClassVar

from pydantic import ConfigDict

from sweeperd.sweep.outcome.facts import Facts
from sweeperd.sweep.outcome.progress import Count, LeafProgress, PassHeader
from sweeperd.sweep.outcome.usual_load import STORED, UsualLoad


@dataclass
class SweepMemory:
    """What a sweep's runs have learned; it moves on while a run goes on.

    Attributes:
        facts: What the last run saw of the world; None before the first one.
        usual_load: How much usually expires; None before the table was drained once.
        pass_header: What the pass under way was begun under; None between two passes.
        leaves: How far that pass has come, by leaf.
        batch_sizes: What batches ended with, by strategy, in its lanes' units.
        deleted_since_vacuum: Rows deleted by table, qualified and quoted, since anybody looked at
            what they left behind.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STORED

    facts: Facts | None = None
    usual_load: UsualLoad | None = None
    pass_header: PassHeader | None = None
    leaves: dict[str, LeafProgress] = field(default_factory=dict)
    batch_sizes: dict[str, Count] = field(default_factory=dict)
    deleted_since_vacuum: dict[str, Count] = field(default_factory=dict)

    def begin_pass(self, header: PassHeader | None) -> None:
        """Forget how far the pass has come; None where no other one begins yet."""
        self.pass_header = header
        self.leaves = {}

    def add_deleted(self, rows: Mapping[str, int]) -> None:
        """Add up deleted rows by table, over runs: of a backlog's many, the last is small."""
        for table, count in rows.items():
            self.deleted_since_vacuum[table] = self.deleted_since_vacuum.get(table, 0) + count

    def copy(self) -> SweepMemory:
        """Return a memory of its own for one run; a run that did not happen changes nothing."""
        return deepcopy(self)
