"""The pass and its lanes against a model: over runs, errors and changes each row exactly once."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeperd.daemon.state.memory import memory_from_json
from sweeperd.postgres.sql.expired import Expired
from sweeperd.postgres.sql.slices import KeyRange, TidRange
from sweeperd.postgres.sql.target import Table, Target
from sweeperd.sweep.lanes.blocks import shares
from sweeperd.sweep.lanes.chain import ChainLane
from sweeperd.sweep.lanes.heap import HeapLane
from sweeperd.sweep.lanes.index import IndexLane, KeyPosition
from sweeperd.sweep.lanes.lane import Piece
from sweeperd.sweep.outcome.memory import SweepMemory
from sweeperd.sweep.outcome.progress import Stretch, gaps, joined
from sweeperd.sweep.outcome.sweep_pass import Leaf, SweepPass, pass_fingerprint
from tests.memory_file import memory_to_json

POINTERS = 4  # a page; few, so that every offset is met
BLOCK_SIZE = 24 + 28 * POINTERS
EXPIRED = Expired("at", "timestamptz", 0)

sizes = st.lists(st.sampled_from([0, 0, 0, 1, 2, 3, 9]), min_size=1, max_size=8)


@dataclass(frozen=True)
class Facts:
    heap_file: str
    ancestry: str = "root"
    columns: str = "at"


def begun(memory: SweepMemory, leaves: dict[str, tuple[str, int]], mark: str = "x") -> SweepPass:
    """Begin a run over leaves, each with its heap's file and size."""
    found = [Leaf(key, Facts(file), blocks) for key, (file, blocks) in leaves.items()]
    one = SweepPass(memory, mark, 0, found)
    for key in leaves:
        one.plan(key, "heap")
    return one


def lanes_of(sweep_pass: SweepPass, workers: int, *, chained: bool) -> list[HeapLane | ChainLane]:
    def heap(key: str, share: Any) -> HeapLane:
        target = Target(Table("public", f"leaf{key}"), EXPIRED)
        file = sweep_pass[key].heap_file
        return HeapLane(key, key, target, share, heap_file=file, block_size=BLOCK_SIZE)

    keys = sweep_pass.in_turn
    if not chained:
        return [heap(key, one) for key in keys for one in shares(sweep_pass.gaps(key), workers)]
    found = [
        [heap(key, one) for key in keys[number::workers] for one in shares(sweep_pass.gaps(key), 1)]
        for number in range(workers)
    ]
    return [ChainLane(f"chain {number}", links) for number, links in enumerate(found) if links]


@dataclass
class Model:
    """Which line pointers of which file were deleted from by a commit, and how it is driven."""

    data: st.DataObject
    swept: Counter[tuple[str, str, int, int]] = field(default_factory=Counter)
    turns: int = 0

    def take(self, piece: Piece) -> None:
        assert isinstance(piece.part, TidRange)
        (block, offset), high = piece.part.low, piece.part.high
        while (block, offset) < high:
            if offset > POINTERS:
                block, offset = block + 1, 0
            else:
                if offset:
                    self.swept[piece.leaf, str(piece.heap_file), block, offset] += 1
                offset += 1

    def batch(self, lane: HeapLane | ChainLane, sweep_pass: SweepPass, *, errors: bool) -> bool:
        """Do as a worker does; return whether the lane is at its end."""
        self.turns += 1
        size = self.data.draw(st.integers(1, 5 * POINTERS), "size")
        before: Any = lane.position
        pieces: list[Piece] = []
        position = before
        for _ in range(self.data.draw(st.integers(1, 4), "slices")):
            piece = lane.next(position, size, size)
            assert lane.position == before
            assert piece == lane.next(position, size, size)
            if piece is None:
                break
            pieces.append(piece)
            sweep_pass.take_up(piece.leaf)
            assert piece.end != position
            position = piece.end
            if piece.last:
                break
        if errors and self.data.draw(st.booleans(), "rolled back"):
            return False
        if not pieces:
            return True
        for piece in pieces:
            self.take(piece)
            piece.committed(sweep_pass)
        lane.advance(pieces[-1])
        assert lane.position != before
        return pieces[-1].last

    def everything(self, leaves: dict[str, tuple[str, int]]) -> set[tuple[str, str, int, int]]:
        return {
            (key, file, block, offset)
            for key, (file, blocks) in leaves.items()
            for block in range(blocks)
            for offset in range(1, POINTERS + 1)
        }


def stored(memory: SweepMemory) -> SweepMemory:
    """Return a memory as it comes back from the state directory."""
    return memory_from_json(json.loads(json.dumps(memory_to_json(memory))))


@given(blocks=sizes, workers=st.integers(1, 3), chained=st.booleans(), data=st.data())
def test_all_leaves_are_swept_exactly_once_in_one_run(
    blocks: list[int], *, workers: int, chained: bool, data: st.DataObject
) -> None:
    model = Model(data)
    leaves = {str(n): ("f", size) for n, size in enumerate(blocks)}
    one = begun(SweepMemory(), leaves)
    for lane in lanes_of(one, workers, chained=chained):
        bound = model.turns + 3 * (sum(blocks) * POINTERS + 2)
        while not model.batch(lane, one, errors=model.turns < bound / 2):
            assert model.turns <= bound

    assert not one.in_turn
    assert sorted(one.done) == sorted(leaves)
    assert set(model.swept) == model.everything(leaves)
    assert set(model.swept.values()) <= {1}


@given(sizes, st.data())
def test_a_pass_over_many_runs_sweeps_each_row_exactly_once_and_ends(
    blocks: list[int], data: st.DataObject
) -> None:
    """Runs stop anywhere; workers and the form of the lanes change; bad leaves are set aside."""
    model, memory = Model(data), SweepMemory()
    leaves = {str(n): ("f", size) for n, size in enumerate(blocks)}
    for run in range(6):
        last = run == 5
        one = begun(memory, leaves)
        aside: set[str] = set()
        for lane in lanes_of(
            one,
            data.draw(st.integers(1, 3), "workers"),
            chained=data.draw(st.booleans(), "chained"),
        ):
            batches = 10_000 if last else data.draw(st.integers(0, 4), "batches")
            for _ in range(batches):
                bad = not last and data.draw(st.integers(0, 9), "bad") == 0
                if bad:
                    aside.add(lane.leaf)
                    one.put_aside(lane.leaf, "it is locked")
                    if not isinstance(lane, ChainLane):
                        break
                    lane.leave(lane.leaf)
                if not one.is_open(lane.leaf) or model.batch(lane, one, errors=not last):
                    break
        assert set(one.set_aside) <= aside
        whole = model.everything(leaves)
        for key in one.done:
            assert {row for row in whole if row[0] == key} <= set(model.swept), "said done"
        memory = stored(memory)

    assert not begun(memory, leaves).in_turn
    assert set(model.swept) == model.everything(leaves)
    assert set(model.swept.values()) <= {1}


@given(st.data())
def test_whatever_changes_between_runs_no_row_that_was_there_all_the_time_is_left_out(
    data: st.DataObject,
) -> None:
    """Leaves come, go, grow, shrink, and are rewritten; their order may be another."""
    model, memory = Model(data), SweepMemory()
    leaves = {str(n): ("f", size) for n, size in enumerate(data.draw(sizes, "blocks"))}
    always = dict(leaves)
    for run in range(4):
        last = run == 3
        one = begun(memory, leaves)
        for lane in lanes_of(one, data.draw(st.integers(1, 3)), chained=data.draw(st.booleans())):
            for _ in range(10_000 if last else data.draw(st.integers(0, 6), "batches")):
                if model.batch(lane, one, errors=not last):
                    break
        if not last:
            memory = stored(memory)
            leaves = data.draw(changed(leaves, run), "changed")
            always = {
                key: (file, min(blocks, leaves[key][1]))
                for key, (file, blocks) in always.items()
                if key in leaves and leaves[key][0] == file
            }

    assert not one.in_turn
    assert model.everything(always) <= set(model.swept)
    rewritten = {key: leaf for key, leaf in leaves.items() if leaf[0].startswith("g")}
    for key, (file, blocks) in rewritten.items():
        if file == "g2":  # in the last change: nothing was done of it before
            assert model.everything({key: (file, blocks)}) <= set(model.swept)


@st.composite
def changed(
    draw: st.DrawFn, leaves: dict[str, tuple[str, int]], run: int
) -> dict[str, tuple[str, int]]:
    one = {}
    for key, (file, blocks) in leaves.items():
        if draw(st.integers(0, 4)):
            size = draw(st.sampled_from([blocks, blocks, 0, blocks // 2, blocks + 3]))
            one[key] = (draw(st.sampled_from([file, file, file, f"g{run}"])), size)
    if draw(st.booleans()):
        one[str(draw(st.integers(10, 12)))] = ("f", draw(st.integers(0, 3)))
    return dict(draw(st.permutations(list(one.items()))))


@given(st.integers(2, 6), st.data())
def test_each_large_leaf_has_its_turn_whatever_the_timeout_allows(
    number: int, data: st.DataObject
) -> None:
    memory, begun_with = SweepMemory(), []
    leaves = {str(n): ("f", 1_000) for n in range(number)}
    for _ in range(number):
        one = begun(memory, leaves)
        first = one.in_turn[0]
        begun_with.append(first)
        (lane, *_) = lanes_of(one, 1, chained=data.draw(st.booleans(), "chained"))
        Model(data).batch(lane, one, errors=False)

    assert sorted(begun_with) == sorted(leaves)


def test_what_was_stepped_over_in_an_earlier_run_is_known_in_the_last() -> None:
    memory = SweepMemory()
    begun(memory, {"1": ("f", 9)}).stepped_over("1")

    assert begun(stored(memory), {"1": ("f", 9)})["1"].left_rows
    assert begun(stored(memory), {"1": ("other", 9)})["1"].left_rows
    assert not begun(memory, {"1": ("f", 9)}, mark="others")["1"].left_rows


@pytest.mark.parametrize(
    ("mark", "file", "again", "kept"),
    [
        ("x", "f", False, True),
        ("y", "f", False, False),
        ("x", "g", False, False),
        ("x", "f", True, False),
    ],
)
def test_a_position_belongs_to_what_it_was_made_under(
    mark: str, file: str, *, again: bool, kept: bool
) -> None:
    memory = SweepMemory()
    one = begun(memory, {"1": ("f", 9), "2": ("f", 9)})
    one.cover("1", "f", Stretch(0, 0, 3, 2))
    one.cover("2", "f", Stretch(0, 0, 9, 0))
    found = [Leaf(key, Facts(file), 9) for key in ("1", "2")]

    one = SweepPass(memory, mark, 5, found, again=again)

    assert one["1"].stretches == ((Stretch(0, 0, 3, 2),) if kept else ())
    assert one.done == (["2"] if kept else [])
    assert one.cutoff == (0 if mark == "x" and not again else 5)


def test_a_leaf_that_was_attached_elsewhere_or_changed_its_column_starts_again() -> None:
    for now in (Facts("f", ancestry="other"), Facts("f", columns="bt")):
        memory = SweepMemory()
        begun(memory, {"1": ("f", 9)}).cover("1", "f", Stretch(0, 0, 9, 0))

        assert SweepPass(memory, "x", 0, [Leaf("1", now, 9)]).in_turn == ["1"]


def test_a_commit_in_a_file_that_was_left_proves_nothing_of_the_new_one() -> None:
    one = begun(SweepMemory(), {"1": ("f", 9)})
    one.restart("1", Facts("g"), 4)
    one.plan("1", "heap")
    one.cover("1", "f", Stretch(0, 0, 9, 0))

    assert (one.in_turn, one.gaps("1")) == (["1"], [((0, 0), (4, 0))])


def test_blocks_that_are_appended_belong_to_the_next_pass() -> None:
    memory = SweepMemory()
    begun(memory, {"1": ("f", 9)}).cover("1", "f", Stretch(0, 0, 4, 0))

    assert begun(memory, {"1": ("f", 99)}).gaps("1") == [((4, 0), (9, 0))]


def test_the_other_strategy_begins_at_the_start_of_the_leaf() -> None:
    memory = SweepMemory()
    one = begun(memory, {"1": ("f", 9)})
    one.cover("1", "f", Stretch(0, 0, 4, 0))
    one.plan("1", "index")

    assert (one["1"].state, one["1"].stretches) == ("to do", ())
    one.reach("1", 7)
    one.plan("1", "index")
    assert one["1"].value == 7


places = st.tuples(st.integers(0, 12), st.integers(0, POINTERS))
stretches = st.lists(st.tuples(places, places).map(sorted), max_size=6)


@given(stretches, st.integers(0, 12))
def test_gaps_are_what_the_stretches_leave(parts: list[Any], blocks: int) -> None:
    done: tuple[Stretch, ...] = ()
    for low, high in parts:
        if low < high:
            done = joined(done, Stretch(*low, *high))
    every = [(block, offset) for block in range(blocks) for offset in range(POINTERS + 1)]
    covered = {one for one in every for low, high in parts if tuple(low) <= one < tuple(high)}
    left = {one for one in every for low, high in gaps(done, blocks) if low <= one < high}

    assert left == set(every) - covered
    assert all(one.high < other.low for one, other in pairwise(done))


@given(stretches, st.integers(0, 12), st.integers(1, 5))
def test_shares_have_every_gap_and_do_not_grow_in_number(
    parts: list[Any], blocks: int, workers: int
) -> None:
    done: tuple[Stretch, ...] = ()
    for low, high in parts:
        if low < high:
            done = joined(done, Stretch(*low, *high))
    left = gaps(done, blocks)
    cut = shares(left, workers)

    assert len(cut) <= max(len(left), workers)
    for low, high in left:
        at = low
        for begin, end in sorted(cut):
            if begin <= at < (end, 0):
                at = (end, 0)
        assert at >= high


@given(st.none() | st.text(max_size=3) | st.integers() | st.floats() | st.just("1e999999999"))
@pytest.mark.parametrize(
    "type_name", ["bigint", "timestamptz", "numeric", "double precision", "text"]
)
def test_a_damaged_value_of_an_index_begins_at_the_start_or_at_a_value_of_the_type(
    type_name: str, value: Any
) -> None:
    target = Target(Table("public", "t"), Expired("at", type_name, 0))

    lane = IndexLane("i", target, leaf="1", has_places=True, after=value)

    assert isinstance(lane.position, KeyPosition)
    assert lane.position.low == lane.position.low  # no NaN, which would match no row
    assert not lane.position.done


def test_the_last_slice_of_a_column_finishes_the_leaf_and_others_keep_the_value() -> None:
    one = SweepPass(SweepMemory(), "x", 0, [Leaf("1", Facts("f"), 9)])
    one.plan("1", "index")
    target = Target(Table("public", "t"), EXPIRED)
    part = KeyRange(None, 5)
    end = KeyPosition(5)
    Piece(target, part, 1, last=False, end=end, leaf="1", value=5).committed(one)
    assert (one["1"].state, one["1"].value) == ("at a position", 5)
    Piece(target, KeyRange(5, None), 1, last=True, end=end, leaf="1").committed(one)
    assert one.done == ["1"]


def test_the_fingerprint_has_table_column_and_strategy() -> None:
    marks = {
        pass_fingerprint(decides, oid, column, strategy)
        for decides in ("a", "b")
        for oid in (1, 2)
        for column in (1, None)
        for strategy in ("auto", "heap")
    }
    assert len(marks) == 16
