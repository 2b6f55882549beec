"""The end of a whole pass: what it left in each leaf, and why."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from sweeperd.postgres.catalog import Relation, quote_if_needed
from sweeperd.postgres.sql import dependents as sql_dependents
from sweeperd.postgres.sql.target import Target
from sweeperd.postgres.sqlstate import SERVER_ERRORS, Fault, classify
from sweeperd.postgres.transaction import Connection, Frame, reading
from sweeperd.sweep.execute.batch import LaneTakenError
from sweeperd.sweep.execute.context import RunContext
from sweeperd.sweep.execute.look import Found, Look
from sweeperd.sweep.execute.session import Session
from sweeperd.sweep.outcome.remaining import MOST_ROWS, Reason, Remaining
from sweeperd.sweep.survey.expiry import at_cutoff
from sweeperd.sweep.survey.instants import from_micros
from sweeperd.sweep.survey.target import Leaf

_LOOK_SECONDS: Final = 1.0  # for one leaf
# A leaf of which nothing is suspected is looked at where that costs next to nothing: below 32 MB.
_CHEAP_BLOCKS: Final = 4_096
_LOOKED_AT_ONCE: Final = 50  # leaves


async def conclude(
    run: RunContext, leaves: Sequence[Leaf], session: Session, *, expected: bool
) -> None:
    """Name the end of a whole pass: drained only when it left nothing that somebody can mend.

    Args:
        run: The run, whose lanes are at their ends.
        leaves: What was to be swept.
        session: A connection of the run.
        expected: Whether expired rows were seen before the first batch.

    Raises:
        RunEndError: The run must end otherwise.
    """
    aside = run.counters.set_aside
    remaining = await _Remains(run, session, expected=expected).of(leaves)
    if aside and not run.sweep_pass.done and not run.report.partitions:
        # nothing could be worked on: what there is of positions is good for the next run
        run.report.remaining = tuple(remaining)
        run.report.end(next((end for end in aside if end.outcome == "failed"), aside[0]))
        return
    run.sweep_pass.end()
    run.report.conclude(remaining)


class _Remains:
    """Looks at the leaves of a run, one after the other."""

    def __init__(self, run: RunContext, session: Session, *, expected: bool) -> None:
        self._run = run
        self._session = session
        self._nothing_went = expected and not run.report.deleted_count
        self._triggers: dict[int, str] = {}

    async def of(self, leaves: Sequence[Leaf]) -> list[Remaining]:
        """Return what stays in all leaves.

        Raises:
            RunEndError: No row may be tried again in this run; the next one looks.
        """
        aside = self._run.sweep_pass.set_aside
        self._triggers = await _before_delete(await self._session.get(), leaves)
        if aside or any(self._is_suspected(leaf) for leaf in leaves):
            self._run.row_limits.check()
        quiet = [leaf for leaf in leaves if leaf.key not in aside and not self._is_suspected(leaf)]
        clean = await self._clean(quiet)
        remaining: list[Remaining] = []
        for leaf in leaves:
            self._run.waits.check_time()
            if leaf.key in aside:
                remaining.append(await self._set_aside(leaf, aside[leaf.key]))
                continue
            if leaf.key not in clean:
                remaining += await self._left(leaf)
            remaining += await self._unreadable(leaf)
        return remaining

    def _is_suspected(self, leaf: Leaf) -> bool:
        """Whether something is known by which rows may have stayed."""
        return (
            self._run.sweep_pass[leaf.key].left_rows
            or bool(self._run.references.names(leaf.target.table))
            or self._nothing_went
            or leaf.relation.row_security
            or leaf.relation.oid in self._triggers
        )

    def _has_locked_rows_only(self, leaf: Leaf) -> bool:
        """Whether the run stepped over rows that others have locked, and over nothing else."""
        run = self._run
        return (
            run.sweep_pass.is_alone
            and run.counters.locked > 0
            and not run.counters.refused_rows
            and not self._nothing_went
            and not run.references.names(leaf.target.table)
            and not leaf.relation.row_security
            and leaf.relation.oid not in self._triggers
        )

    async def _clean(self, quiet: Sequence[Leaf]) -> set[str]:
        """Return the leaves without expired rows, or of a size at which a look is not worth it."""
        clean = {leaf.key for leaf in quiet if leaf.blocks > _CHEAP_BLOCKS}
        small = [leaf for leaf in quiet if leaf.key not in clean]
        for at in range(0, len(small), _LOOKED_AT_ONCE):
            some = small[at : at + _LOOKED_AT_ONCE]
            try:
                counts = await self._look(some[0]).count_each([self._target(one) for one in some])
            except SERVER_ERRORS:
                counts = None
            # nothing is suspected: a leaf that cannot be read now is no trouble of this pass
            clean |= {one.key for n, one in enumerate(some) if counts is None or not counts[n]}
        return clean

    def _target(self, leaf: Leaf) -> Target:
        """Return what was expired at the cutoff of the pass's first run."""
        first = from_micros(self._run.sweep_pass.cutoff)
        expired = at_cutoff(self._run.sweep, leaf.target.expired, first)
        return replace(leaf.target, expired=expired)

    def _look(self, leaf: Leaf) -> Look:
        moves = leaf.relation.oid in self._triggers
        deadline = asyncio.get_running_loop().time() + _LOOK_SECONDS
        looked_at = replace(leaf, target=self._target(leaf))
        return Look(self._run, looked_at, self._session, deadline, moves=moves)

    async def _set_aside(self, leaf: Leaf, reason: str) -> Remaining:
        rows = 0
        try:
            rows = await self._look(leaf).count() or 0
        except SERVER_ERRORS as error:  # it may be gone
            if classify(error) is Fault.LOST:
                await self._session.drop()
        ends = [end for end in self._run.counters.set_aside if end.reason == reason]
        return Remaining(
            leaf.relation.shown,
            "leaf set aside",
            rows,
            reason,
            is_least=rows >= MOST_ROWS,
            passes=any(end.passes for end in ends),
        )

    async def _left(self, leaf: Leaf) -> list[Remaining]:
        """Return what stays in a leaf that was swept."""
        relation = leaf.relation
        if leaf.blocks > _CHEAP_BLOCKS and self._has_locked_rows_only(leaf):
            locked = self._run.counters.locked  # a look would read all of a large table for that
            return [Remaining(relation.shown, "locked", locked, passes=True)]
        found = Found()
        try:
            found = await self._look(leaf).at_rows()
        except LaneTakenError:
            pass  # what else there is, the next pass tells
        except SERVER_ERRORS as error:
            if classify(error) is Fault.LOST:
                await self._session.drop()
            found = Found(unknown=True)
        told = [self._told(relation, found, *one) for one in found.by_reason]
        is_told = any(reason == "stepped over" for reason, *_ in found.by_reason)
        if leaf.key in self._run.counters.stepped_over and told and not is_told:
            # a sample may have met none of these rows
            told.append(Remaining(relation.shown, "stepped over", 0, passes=True))
        if found.unknown and self._run.sweep_pass[leaf.key].left_rows:
            # counting fails where the operator's text raises, or takes too long
            rows, why = self._run.counters.refused_by_leaf.get(leaf.key, (0, "not counted in 1 s"))
            told.append(Remaining(relation.shown, "refused", rows, why, is_least=True))
        return told

    def _told(
        self, relation: Relation, found: Found, reason: Reason, by: str, rows: int
    ) -> Remaining:
        if reason == "suppressed":
            by = _suppressed_by(relation, self._triggers.get(relation.oid))
        elif reason == "refused":
            _, words = self._run.counters.refused_by_leaf.get(str(relation.oid), (0, ""))
            by = f"{by}; the last: {words}" if words else by
        least, passes = found.is_least, reason in {"locked", "stepped over"}
        return Remaining(relation.shown, reason, rows, by, is_least=least, passes=passes)

    async def _unreadable(self, leaf: Leaf) -> list[Remaining]:
        """Return text in a form that is never expired, which says nothing of when it was to be."""
        rows = await self._look(leaf).unreadable()
        if not rows:
            return []
        cure = "write it in UTC (Z, +00), or leave these rows out with where"
        name = leaf.relation.shown
        least = rows >= MOST_ROWS
        return [Remaining(name, "unreadable text", rows, cure, is_least=least)]


async def _before_delete(connection: Connection, leaves: Sequence[Leaf]) -> dict[int, str]:
    """Return a BEFORE DELETE trigger of each leaf that has one."""
    oids = [leaf.relation.oid for leaf in leaves if leaf.relation.has_triggers]
    if not oids:
        return {}
    async with reading(connection, Frame()):
        rows = await connection.fetch(sql_dependents.BEFORE_DELETE, oids)
    return {row["oid"]: row["name"] for row in rows}


def _suppressed_by(relation: Relation, trigger: str | None) -> str:
    if trigger is not None:
        name = quote_if_needed(trigger)
        return (
            f"the BEFORE DELETE trigger {name} suppresses their delete, for it does not return OLD;"
            f" leave these rows out with where, or ALTER TABLE {relation.shown} "
            f"DISABLE TRIGGER {name}"
        )
    if relation.row_security:
        role = quote_if_needed(relation.role)
        return (
            f"policies show them to {role}, and none lets it delete them; "
            f"CREATE POLICY sweep ON {relation.shown} FOR DELETE TO {role} USING (true)"
        )
    return "something suppresses their delete; look for rules and triggers of the table"
