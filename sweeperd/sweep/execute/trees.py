"""Rows that refer to rows of the same table: each goes with all that lies below it, or stays."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from typing import Final

from sweeperd.postgres.sql.slices import Slice, Tid
from sweeperd.postgres.sql.target import Target
from sweeperd.postgres.sql.trees import read_tree
from sweeperd.postgres.sqlstate import Fault, classify
from sweeperd.postgres.transaction import fetch, reading_rows
from sweeperd.sweep.execute.bisect import Bisection
from sweeperd.sweep.execute.context import RunContext
from sweeperd.sweep.execute.session import Session

_MOST_ROWS: Final = 200_000  # read of one slice's trees
_FIRST_ROWS: Final = 2_000  # of a batch

# a place, the place of a row that it refers to, whether it would go by itself
Edge = tuple[Tid, Tid | None, bool]


def leaves_first(edges: Iterable[Edge]) -> list[Tid]:
    """Return the rows below which none stays, each behind those that refer to it.

    Rows that refer to each other in a circle, and those above them, come at the end.
    """
    parents: dict[Tid, set[Tid]] = defaultdict(set)
    staying: set[Tid] = set()
    for place, parent, goes in edges:
        above = parents[place]
        if parent is not None and parent != place:
            above.add(parent)
        if not goes:
            staying.add(place)
    todo = list(staying)
    while todo:  # each row is entered once
        above = parents[todo.pop()] - staying
        staying |= above
        todo += above
    going = {place: parents[place] - staying for place in parents if place not in staying}
    below = Counter(parent for above in going.values() for parent in above)
    free = deque(place for place in going if not below[place])
    ordered: dict[Tid, None] = {}
    while free:  # each row is entered once
        place = free.popleft()
        ordered[place] = None
        for parent in going[place]:
            below[parent] -= 1
            if not below[parent]:
                free.append(parent)
    return [*ordered, *(place for place in going if place not in ordered)]


class Trees:
    """The rows of a slice and all rows below them, deleted leaves first.

    What a batch may hold goes in one DELETE, and a larger tree in several.

    Args:
        run: The run.
        target: What goes from where; its table refers to itself.
        session: The lane's connection.
        fence: Key of the lane's advisory lock.
    """

    def __init__(self, run: RunContext, target: Target, session: Session, fence: int) -> None:
        self._run = run
        self._target = target
        self._session = session
        self._batches = Bisection(run, target, session, fence)

    async def delete(self, part: Slice, lane: str, limit: int) -> int | None:
        """Delete what can go of a slice, and what lies below; see `Bisection.delete`."""
        edges = await self._read(part)
        if edges is None or len(edges) > _MOST_ROWS:
            return await self._only_leaves(part, lane, limit)
        return await self._batches.delete_places(leaves_first(edges), lane, limit, _FIRST_ROWS)

    async def _read(self, part: Slice) -> list[Edge] | None:
        """Return the trees of a slice; None where that takes too long."""
        run, target = self._run, self._run.references.leave_out(self._target)
        keys = run.references.to_itself(target.table)
        statement = read_tree(target, part, keys, limit=_MOST_ROWS + 1)
        connection = await self._session.get()
        run.turns.statement()
        try:
            async with reading_rows(connection, run.read_frame):
                rows = await fetch(connection, statement)
        except Exception as error:
            if classify(error) in {Fault.TIMEOUT, Fault.ROW}:
                return None
            raise
        return [(row["place"], row["parent"], row["goes"]) for row in rows]

    async def _only_leaves(self, part: Slice, lane: str, limit: int) -> int | None:
        """Delete the rows of a slice that no row refers to; those above them go in later runs."""
        self._run.report.warn(
            f"more rows of {self._target.table.quoted} refer to each other than one look takes "
            f"({_MOST_ROWS}, 5 s): they go leaves first, over several runs; an index on the "
            "referring column helps"
        )
        target = self._run.references.leave_out(self._target, parents=True)
        places = await self._batches.places(target, part)
        return await self._batches.delete_places(places, lane, limit, _FIRST_ROWS)
