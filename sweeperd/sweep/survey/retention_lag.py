"""Measures the retention lag: one probe of an index, or a bounded sample; never a count."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final, cast

import asyncpg

from sweeperd.config.models import SweepConfig, Unit
from sweeperd.postgres.catalog import Column
from sweeperd.postgres.sql import lag as sql
from sweeperd.postgres.sql.slices import TidRange
from sweeperd.postgres.sql.target import Statement
from sweeperd.postgres.sqlstate import describe
from sweeperd.postgres.transaction import Connection, Frame, fetchval, reading_rows
from sweeperd.sweep.outcome.lag import RetentionLag
from sweeperd.sweep.outcome.memory import SweepMemory
from sweeperd.sweep.survey.expiry import expired_rows
from sweeperd.sweep.survey.expiry_instant import instant_or_none, micros_in, micros_of
from sweeperd.sweep.survey.frame import table_frame
from sweeperd.sweep.survey.instants import from_micros
from sweeperd.sweep.survey.survey import Survey
from sweeperd.sweep.survey.target import Leaf

_STATEMENT_MS: Final = 500
_LOCK_MS: Final = 100
_SECONDS: Final = 1.5  # of all statements of one kind
_MOST_LEAVES: Final = 100
_SAMPLE_BLOCKS: Final = 512
_FIRST_BLOCKS: Final = 64  # a table that is written in order has its oldest rows there
_WHOLE: Final = 100.0  # percent


@dataclass(frozen=True)
class LagProbe:
    """What a survey found that a later look at the lag needs; the cutoff is read anew.

    Attributes:
        sweep: The sweep.
        fingerprint: Of what decides which rows go.
        column: The sweep's column.
        unit: What it holds.
        leaves: Where rows may be, the oldest partition first and empty ones last; at most 100.
        left_out: How many more leaves there are.
        search_path: Under which the statements on the table run.
        drained_at: Cutoff of a whole pass under the same settings, microseconds since 2000-01-01
            UTC: what was expired then and is there still was set aside for a reason. None when
            none is known.
    """

    sweep: SweepConfig
    fingerprint: str
    column: Column
    unit: Unit
    leaves: tuple[Leaf, ...]
    left_out: int
    search_path: tuple[str, ...] | None
    drained_at: int | None = None

    @classmethod
    def of(cls, sweep: SweepConfig, found: Survey, memory: SweepMemory) -> LagProbe | None:
        """Return the probe for a surveyed table; None for a condition, which tells no age.

        Args:
            sweep: The sweep.
            found: Its table.
            memory: What the last run left.
        """
        if found.column is None:
            return None
        leaves = sorted(found.all_leaves, key=lambda leaf: leaf.one_heap and not leaf.blocks)
        return cls(
            sweep,
            found.facts.fingerprint,
            found.column,
            cast("Unit", found.unit),
            tuple(leaves[:_MOST_LEAVES]),
            len(leaves[_MOST_LEAVES:]),
            found.search_path,
            _drained_at(memory, found.facts.fingerprint),
        )

    def after(self, former: LagProbe | None) -> LagProbe:
        """Return this probe with the newest whole pass that it or a former one knows of."""
        if former is None or former.fingerprint != self.fingerprint or former.drained_at is None:
            return self
        return self.drained(former.drained_at)

    def drained(self, cutoff: int) -> LagProbe:
        """Return this probe after a whole pass."""
        return replace(self, drained_at=max(cutoff, self.drained_at or cutoff))

    def is_indexed(self, leaf: Leaf) -> bool:
        """Whether the first entry of an index is the oldest row."""
        text = leaf.target.column.text
        if text is not None and text.next_second is None:
            return False  # its collation does not sort text as time
        return any(index.serves(self.column) for index in leaf.indexes)

    def wanted(self, leaf: Leaf, cutoff: int) -> sql.Wanted:
        """Return which rows of a leaf count at a cutoff."""
        column = leaf.target.column
        expired, *set_aside = [
            expired_rows(
                self.sweep,
                column=column.column,
                type_name=column.type_name,
                cutoff=from_micros(at),
                time_ordered=column.text is not None and column.text.next_second is not None,
            )
            for at in (cutoff, self.drained_at)
            if at is not None
        ]
        return sql.Wanted(replace(leaf.target, expired=expired), next(iter(set_aside), None))


def _drained_at(memory: SweepMemory, fingerprint: str) -> int | None:
    """Return the cutoff of the last run if it was a whole pass under these settings."""
    facts, load = memory.facts, memory.usual_load
    if facts is None or load is None or facts.fingerprint != fingerprint:
        return None
    return load.drained_at if facts.cutoff == load.drained_at else None


def _sampled_percent(heaps: Sequence[Leaf]) -> float:
    blocks = sum(leaf.blocks for leaf in heaps)
    return min(_WHOLE * _SAMPLE_BLOCKS / max(blocks, 1), _WHOLE)


async def retention_lag(connection: Connection, probe: LagProbe) -> RetentionLag:
    """Measure the lag in transactions that may only read; what fails is told in the result.

    Where an index cannot tell in time, as one whose first entries are dead, the table is sampled.

    Args:
        connection: In no transaction.
        probe: What is known of the table.
    """
    look = _Look(connection, probe)
    indexed = [leaf for leaf in probe.leaves if probe.is_indexed(leaf)]
    slow = await look.by_index(indexed)
    await look.by_sample([leaf for leaf in probe.leaves if leaf not in indexed] + slow)
    return look.result()


async def backlog(connection: Connection, probe: LagProbe) -> int | None:
    """Estimate how many rows are expired, by a sample of 512 blocks; None when that fails.

    Args:
        connection: In no transaction.
        probe: What is known of the table.
    """
    if probe.left_out or not all(leaf.one_heap for leaf in probe.leaves):
        return None
    look = _Look(connection, probe)
    try:
        return await look.count(probe.leaves)
    except asyncpg.PostgresError:
        return None


class _Look:
    """One measurement, leaf by leaf; each kind of statement has a transaction and its time.

    Args:
        connection: In no transaction.
        probe: What is known of the table.
    """

    def __init__(self, connection: Connection, probe: LagProbe) -> None:
        self._connection = connection
        self._probe = probe
        self._ages: list[int] = []
        self._oldest: list[int] = []
        self._read = 0
        self._sampled = False
        self._failure: str | None = None

    async def by_index(self, leaves: Sequence[Leaf]) -> list[Leaf]:
        """Probe indexes; return the leaves that were too slow for it."""
        begun = self._read
        try:
            await self._read_all(leaves, sql.WALK_INDEX, lambda wanted: [sql.oldest(wanted)])
        except asyncpg.QueryCanceledError:
            return list(leaves[self._read - begun :])
        except asyncpg.PostgresError as error:
            self._failure = describe(error)
        return []

    async def by_sample(self, leaves: Sequence[Leaf]) -> None:
        """Look at some blocks of each leaf, and at its first ones."""
        heaps = [leaf for leaf in leaves if leaf.one_heap]
        percent = _sampled_percent(heaps)
        first = TidRange((0, 0), (_FIRST_BLOCKS, 0))

        def statements(wanted: sql.Wanted) -> list[Statement]:
            spread = sql.oldest_sampled(wanted, percent)
            return [spread] if percent == _WHOLE else [sql.oldest_in(wanted, first), spread]

        self._sampled = percent < _WHOLE
        try:
            await self._read_all(heaps, {}, statements)
        except asyncpg.PostgresError as error:
            self._failure = describe(error)

    async def count(self, heaps: Sequence[Leaf]) -> int | None:
        """Count the expired rows of some blocks, in proportion to all; None when time is over."""
        percent, found = _sampled_percent(heaps), 0
        end = asyncio.get_running_loop().time() + _SECONDS
        async with self._transaction({}):
            cutoff = int(await self._connection.fetchval(sql.NOW))
            for leaf in heaps:
                if asyncio.get_running_loop().time() > end:
                    return None
                query = sql.count_sampled(self._probe.wanted(leaf, cutoff), percent)
                found += int(await fetchval(self._connection, query))
        return round(found * _WHOLE / percent)

    async def _read_all(
        self,
        leaves: Sequence[Leaf],
        settings: Mapping[str, str],
        statements: Callable[[sql.Wanted], list[Statement]],
    ) -> None:
        if not leaves:
            return
        loop = asyncio.get_running_loop()
        end = loop.time() + _SECONDS
        async with self._transaction(settings):
            cutoff = int(await self._connection.fetchval(sql.NOW))
            for leaf in leaves:
                if loop.time() > end:
                    return
                for statement in statements(self._probe.wanted(leaf, cutoff)):
                    self._take(await fetchval(self._connection, statement), cutoff)
                self._read += 1

    @asynccontextmanager
    async def _transaction(self, settings: Mapping[str, str]) -> AsyncIterator[None]:
        sweep = self._probe.sweep
        frame = Frame(
            f"sweeperd:{sweep.name}", lock_timeout_ms=_LOCK_MS, statement_timeout_ms=_STATEMENT_MS
        )
        framed = table_frame(sweep, frame, search_path=self._probe.search_path)
        async with reading_rows(self._connection, framed, settings):
            yield

    def _take(self, value: float | str | None, cutoff: int) -> None:
        if value is None:
            return
        sweep = self._probe.sweep
        expired_at = micros_of(value, self._probe.unit, sweep.column_timezone)
        expired_at += micros_in(sweep.keep or timedelta())
        self._oldest.append(expired_at)
        self._ages.append(max(cutoff - expired_at, 0))

    def result(self) -> RetentionLag:
        """Return the lag as far as it was measured."""
        probe = self._probe
        missing = len(probe.leaves) - self._read + probe.left_out
        reason = self._failure
        if reason is None and missing:
            reason = f"{missing} of {len(probe.leaves) + probe.left_out} leaves were not looked at"
        if not self._ages and missing and not self._read:
            return RetentionLag(None, reason=reason)
        return RetentionLag(
            round(max(self._ages, default=0) / 1e6, 3),
            "sample" if self._sampled or missing else "exact",
            instant_or_none(min(self._oldest)) if self._oldest else None,
            reason,
        )
