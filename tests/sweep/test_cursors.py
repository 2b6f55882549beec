"""Cursors of lanes against a model: each block exactly once a pass, and each walk ends."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sweeperd.daemon.state.memory import memory_from_json, memory_to_json
from sweeperd.postgres.sql.expired import Expired
from sweeperd.postgres.sql.rows import Table, Target, TidRange
from sweeperd.sweep.lanes.blocks import block_range
from sweeperd.sweep.lanes.chain import ChainLane
from sweeperd.sweep.lanes.heap import HeapLane
from sweeperd.sweep.lanes.index import IndexLane, KeyPosition
from sweeperd.sweep.lanes.lane import Piece
from sweeperd.sweep.outcome.memory import BlockCursor, ChainCursor, Cursor, SweepMemory

POINTERS = 4  # a page; few, so that every offset is met
BLOCK_SIZE = 24 + 28 * POINTERS
EXPIRED = Expired("at", "timestamptz", 0)

sizes = st.lists(st.sampled_from([0, 0, 0, 1, 2, 3, 9]), min_size=1, max_size=8)


def heap(leaf: int, blocks: int, part: tuple[int, int] = (0, 1), cursor: Any = None) -> HeapLane:
    number, of = part
    target = Target(Table("public", f"leaf{leaf}"), EXPIRED)
    name = f"{leaf}:heap:{number}/{of}"
    share = block_range(blocks, number, of)
    return HeapLane(name, target, share, block_size=BLOCK_SIZE, cursor=cursor)


def chain(leaves: dict[int, int], part: tuple[int, int], saved: dict[str, Any]) -> ChainLane | None:
    number, of = part
    links = [heap(leaf, blocks) for leaf, blocks in leaves.items()][number::of]
    name = f"leaves:heap:{number}/{of}"
    return ChainLane(name, links, saved.get(name)) if links else None


@dataclass
class Model:
    """Which line pointers a pass has handed out after a commit, and how it is driven."""

    draw: Any
    swept: Counter[tuple[str, int, int]] = field(default_factory=Counter)
    turns: int = 0

    def take(self, piece: Piece) -> None:
        assert isinstance(piece.part, TidRange)
        (block, offset), high = piece.part.low, piece.part.high
        while (block, offset) < high:
            if offset > POINTERS:
                block, offset = block + 1, 0
            else:
                if offset:
                    self.swept[piece.target.table.name, block, offset] += 1
                offset += 1

    async def batch(self, lane: HeapLane | ChainLane, *, errors: bool) -> bool:
        """Do as a worker does; return whether the lane is at its end."""
        self.turns += 1
        size = self.draw.draw(st.integers(1, 5 * POINTERS), "size")
        joined = self.draw.draw(st.integers(1, 4), "slices")
        before: Any = lane.position
        pieces: list[Piece] = []
        position = before
        for _ in range(joined):
            piece = lane.next(position, size, size)
            assert lane.position == before
            assert piece == lane.next(position, size, size)
            if piece is None:
                break
            pieces.append(piece)
            assert piece.end != position
            position = piece.end
            if piece.last:
                break
        if errors and self.draw.draw(st.booleans(), "rolled back"):
            return False
        if not pieces:
            return True
        lane.advance(pieces[-1])
        assert lane.position != before
        for piece in pieces:
            self.take(piece)
        return pieces[-1].last

    def everything(self, leaves: dict[int, int]) -> set[tuple[str, int, int]]:
        return {
            (f"leaf{leaf}", block, offset)
            for leaf, blocks in leaves.items()
            for block in range(blocks)
            for offset in range(1, POINTERS + 1)
        }


@given(sizes, st.integers(1, 3), st.data())
@example([1, 0], 1, None)
@example([0, 0, 0], 2, None)
async def test_chained_leaves_are_swept_exactly_once_wherever_empty_ones_lie(
    blocks: list[int], workers: int, data: Any
) -> None:
    model = Model(data or _Largest())
    leaves = dict(enumerate(blocks))
    for number in range(workers):
        lane = chain(leaves, (number, workers), {})
        bound = 3 * (sum(blocks) * POINTERS + 2)
        while lane and not await model.batch(lane, errors=model.turns < bound / 2):
            assert model.turns <= workers * bound
        assert lane is None or lane.cursor() is None

    assert set(model.swept) == model.everything(leaves)
    assert set(model.swept.values()) <= {1}


@given(st.integers(0, 12), st.integers(1, 4), st.data())
async def test_one_heap_is_swept_exactly_once_by_all_its_lanes(
    blocks: int, workers: int, data: Any
) -> None:
    model = Model(data)
    for number in range(workers):
        lane, end = heap(0, blocks, (number, workers)), 0
        while not await model.batch(lane, errors=model.turns < 100):
            end += 1
            assert end < 200 + blocks * POINTERS
        assert lane.cursor() is None

    assert set(model.swept) == model.everything({0: blocks})
    assert set(model.swept.values()) <= {1}


class _Largest:
    """Stands in for hypothesis's data in an explicit example."""

    def draw(self, _strategy: Any, label: str) -> Any:
        return {"size": 100, "slices": 4, "rolled back": False}[label]


@given(st.data())
async def test_a_pass_over_many_runs_loses_nothing_whatever_changes_between_them(
    data: st.DataObject,
) -> None:
    """Leaves come, go, grow, shrink and empty; workers and the form of the lanes change."""
    model = Model(data)
    saved: dict[str, Any] = {}
    leaves = dict(enumerate(data.draw(sizes, "blocks")))
    always = dict(leaves)  # blocks that were there in each run so far
    for run in range(4):
        last = run == 3
        workers = data.draw(st.integers(1, 3), "workers")
        chained = data.draw(st.booleans(), "chained")
        for lane in lanes(leaves, workers, saved, chained=chained):
            batches = 10_000 if last else data.draw(st.integers(0, 6), "batches")
            for _ in range(batches):
                ended = await model.batch(lane, errors=not last)
                if lane.cursor() is None:
                    saved.pop(lane.name, None)
                else:
                    saved[lane.name] = stored(lane.cursor())
                if ended:
                    break
            else:
                assert not last
        if not last:
            leaves = data.draw(changed(leaves), "changed")
            always = {leaf: min(blocks, leaves.get(leaf, 0)) for leaf, blocks in always.items()}

    assert model.everything(leaves) - set(model.swept) <= model.everything(
        leaves
    ) - model.everything(always)


def stored(cursor: Cursor | None) -> Cursor:
    """Return a cursor as it comes back from the state directory."""
    assert cursor is not None
    plain = json.dumps(memory_to_json(SweepMemory(cursors={"lane": cursor})))
    return memory_from_json(json.loads(plain)).cursors["lane"]


def lanes(
    leaves: dict[int, int], workers: int, saved: dict[str, Any], *, chained: bool
) -> list[HeapLane | ChainLane]:
    if chained:
        made = [chain(leaves, (number, workers), saved) for number in range(workers)]
        return [lane for lane in made if lane is not None]
    return [
        heap(leaf, blocks, (number, workers), saved.get(f"{leaf}:heap:{number}/{workers}"))
        for leaf, blocks in leaves.items()
        for number in range(workers)
    ]


@st.composite
def changed(draw: st.DrawFn, leaves: dict[int, int]) -> dict[int, int]:
    """Detach, attach, truncate and grow leaves; their order may be another."""
    one = {
        leaf: draw(st.sampled_from([blocks, blocks, 0, blocks // 2, blocks + 3]))
        for leaf, blocks in leaves.items()
        if draw(st.integers(0, 4))
    }
    if draw(st.booleans()):
        one[draw(st.integers(10, 12))] = draw(st.integers(0, 3))
    return dict(draw(st.permutations(list(one.items()))))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 30) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=6,
)


numbers = st.integers(0, 30)
block_cursors = st.builds(BlockCursor, numbers, numbers, numbers)
cursors = (
    json_values.filter(lambda value: isinstance(value, str | int | float))
    | block_cursors
    | st.builds(ChainCursor, st.text(max_size=3), st.none() | block_cursors, st.text(max_size=3))
)


@given(cursors)
async def test_a_strange_cursor_of_a_chain_or_a_heap_begins_at_the_start_or_where_it_says(
    cursor: Any,
) -> None:
    one = heap(0, 9, cursor=cursor)
    assert (0, 0) <= one.position < (9, 0)
    many = ChainLane("c", [heap(0, 0), heap(1, 3)], cursor)
    assert many.position.index == 1


@given(cursors | st.just(10**400) | st.just("1e999999999"))
@pytest.mark.parametrize(
    "type_name", ["bigint", "timestamptz", "numeric", "double precision", "text"]
)
def test_a_damaged_cursor_of_an_index_begins_at_the_start_or_at_a_value_of_the_type(
    type_name: str, cursor: Any
) -> None:
    target = Target(Table("public", "t"), Expired("at", type_name, 0))

    lane = IndexLane("i", target, has_places=True, cursor=cursor)

    assert isinstance(lane.position, KeyPosition)
    assert lane.position.low == lane.position.low  # no NaN, which would match no row
    assert not lane.position.done


def test_a_cursor_of_a_lane_that_began_later_is_ignored() -> None:
    """After a truncation the second lane's share begins earlier than what its cursor proves."""
    behind = heap(0, 120, (1, 2), cursor=BlockCursor(110, 0, 100))
    fits = heap(0, 300, (1, 2), cursor=BlockCursor(210, 0, 100))

    assert behind.position == (60, 0)
    assert fits.position == (210, 0)
