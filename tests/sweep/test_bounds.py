"""Bounds that are read ahead, on a real server and against a model: each value exactly once."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sweeperd.config.models import DatabaseConfig
from sweeperd.postgres.connect import Database
from sweeperd.postgres.sql.expired import Expired, Key
from sweeperd.postgres.sql.slices import KeyRange
from sweeperd.postgres.sql.target import Table, Target
from sweeperd.postgres.transaction import Frame
from sweeperd.sweep.lanes.bounds import Ahead, Bound, read_bounds
from sweeperd.sweep.lanes.index import IndexLane, KeyPosition
from sweeperd.sweep.lanes.lane import Piece, SwitchError
from tests.conftest import TestDatabase
from tests.sweep.proxy import Proxy

COUNT: Final = 16
NOBODY: Any = None  # the model answers
quick = hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
FIRST: Final = -211_813_488_000_000_000
VALUES: Final[dict[str, st.SearchStrategy[Any]]] = {
    "smallint": st.integers(-(2**15), 2**15 - 1),
    "integer": st.integers(-3, 3),
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "numeric": st.decimals("-1e30", "1e30", allow_nan=False, places=9),
    "double precision": st.floats(allow_nan=False, allow_infinity=False),
    "text": st.text("aé漢'\\~0", max_size=3),
    "varchar": st.text("aé漢'\\~0", max_size=3),
    "timestamptz": st.integers(FIRST, 9_223_371_331_199_999_999),
    "timestamp": st.one_of(st.integers(FIRST, FIRST + 3), st.integers(-2, 2)),
    "date": st.integers(-2_451_545, 2_145_031_948),
}


def target(type_name: str = "bigint", table: str = "t") -> Target:
    return Target(Table("public", table), Expired("at", type_name, None))


def model(values: list[Any], low: Any, step: int, count: int = COUNT) -> Ahead:
    """Cut sorted values as the server is asked to."""
    bounds: list[Bound] = []
    start = low
    while len(bounds) < count:
        rest = values if low is None else values[bisect_right(values, low) :]
        if len(rest) <= step:
            bounds.append(Bound(rest[-1] if len(rest) == step else None, None))
            break
        high, beyond = rest[step - 1], rest[step]
        if high == beyond:
            smaller = [value for value in rest if value < high]
            high = smaller[-1] if smaller else None
        bounds.append(Bound(high, beyond))
        if high is None:
            break
        low = high
    return Ahead(start, step, tuple(bounds))


@pytest.mark.every_server
@pytest.mark.parametrize("type_name", VALUES)
async def test_bounds_are_read_as_the_model_cuts_them(
    database: TestDatabase, type_name: str
) -> None:
    connection = await database.integer_times()
    collated = ' COLLATE "C"' if type_name in {"text", "varchar"} else ""
    await connection.execute(f"CREATE TABLE t (at {type_name}{collated})")
    await connection.execute("CREATE INDEX ON t (at)")
    cases: list[tuple[list[Any], int, int | None]] = []

    @quick
    @given(
        st.lists(VALUES[type_name], max_size=40),
        st.integers(1, 6),
        st.none() | st.integers(0, 39),
    )
    def gather(values: list[Any], step: int, low: int | None) -> None:
        cases.append((values, step, low))

    gather()
    for values, step, index in cases:
        await connection.execute("TRUNCATE t")
        rows = [(value,) for value in values]
        await connection.executemany(f"INSERT INTO t VALUES ($1::{type_name})", rows)
        ordered = sorted(values)
        low = ordered[index % len(ordered)] if index is not None and ordered else None

        read = await read_bounds(
            connection, Frame(), target(type_name), low, step=step, count=COUNT
        )

        expected = model(ordered, low, step)
        assert read.step == step
        assert len(read.bounds) == len(expected.bounds)
        for one, other in zip(read.bounds, expected.bounds, strict=True):
            assert one.beyond == other.beyond
            assert one.last or one.high == other.high


@pytest.mark.parametrize("name", ["slices", "two", "pair", "first", "next", "at", 'a"b'])
async def test_no_name_of_a_table_is_taken_for_one_of_ours(
    database: TestDatabase, name: str
) -> None:
    connection = await database.integer_times()
    quoted = '"' + name.replace('"', '""') + '"'
    await connection.execute(f"CREATE TABLE {quoted} (at bigint, number int, bound int, v int)")
    await connection.execute(f"INSERT INTO {quoted} SELECT g / 2 FROM generate_series(1, 20) g")

    read = await read_bounds(connection, Frame(), target(table=name), None, step=3, count=COUNT)

    assert read == model(sorted(g // 2 for g in range(1, 21)), None, 3)


def number(value: Key | None) -> int | None:
    assert value is None or isinstance(value, int)
    return value


def ends(piece: Piece) -> tuple[int | None, int | None]:
    assert isinstance(piece.part, KeyRange)
    return number(piece.part.low), number(piece.part.high)


class Driver:
    """Drives a lane as a worker does, over values that a model cuts."""

    def __init__(self, values: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
        self.values = sorted(values)
        self.reads: list[int] = []
        self.swept: Counter[int] = Counter()

        async def read(
            _connection: Any, _frame: Frame, _target: Target, low: Any, *, step: int, count: int
        ) -> Ahead:
            self.reads.append(step)
            return model(self.values, low, step, count)

        monkeypatch.setattr("sweeperd.sweep.lanes.index.read_bounds", read)
        # of a table that is swept as a whole they are read one by one
        monkeypatch.setattr("sweeperd.sweep.lanes.index.read_next_bound", partial(read, count=1))

    async def piece(self, lane: IndexLane, size: int, rows: int) -> Piece | None:
        """Ask as a worker does; the answer is within the pace's steering."""
        before = lane.position
        await lane.prepare(NOBODY, Frame(), before, size, rows)
        piece = lane.next(before, size, rows)
        assert lane.position == before
        known = len(self.reads)
        await lane.prepare(NOBODY, Frame(), before, size, rows)
        assert len(self.reads) == known  # asked again, nothing is read again
        assert piece == lane.next(before, size, rows)
        if piece is not None:
            assert piece.end != before
            self.measured(piece, max(min(size, rows), 1), rows)
        return piece

    def rows(self, piece: Piece) -> list[int]:
        low, high = ends(piece)
        return [
            value
            for value in self.values
            if (low is None or value > low) and (high is None or value <= high)
        ]

    def measured(self, piece: Piece, size: int, rows: int) -> None:
        assert piece.units <= max(rows, 1)
        assert 3 * piece.units <= 4 * size
        inside = self.rows(piece)
        if piece.least:
            assert len(set(inside)) == 1
            assert len(inside) > size
        else:
            assert len(inside) <= piece.units
        beyond = [value for value in self.values if inside and value > inside[-1]]
        shared = bool(beyond) and beyond.count(beyond[0]) > 1
        ends_early = piece.last or piece.least or shared or len(inside) < piece.units
        assert ends_early or 2 * piece.units > size

    def commit(self, lane: IndexLane, piece: Piece) -> None:
        for value in self.rows(piece):
            self.swept[value] += 1
        lane.advance(piece)
        assert lane.position == piece.end


@given(
    values=st.lists(st.integers(-9, 60), max_size=80),
    data=st.data(),
    has_places=st.booleans(),
)
async def test_a_column_is_swept_exactly_once_whatever_the_sizes_are(
    values: list[int], data: st.DataObject, *, has_places: bool
) -> None:
    """Batches are rolled back, and sizes change from each to the next."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        driver = Driver(values, monkeypatch)
        lane = IndexLane("i", target(), leaf="1", has_places=has_places)
        for turn in range(2_000):
            size, rows = (data.draw(st.integers(1, 30), name) for name in ("size", "rows"))
            try:
                piece = await driver.piece(lane, size, rows)
            except SwitchError:
                assert has_places
                low = number(lane.position.low)
                rest = [value for value in driver.values if low is None or value > low]
                assert rest.count(rest[0]) > min(size, rows)
                return
            if piece is None:
                break
            if turn < 200 and data.draw(st.booleans(), "rolled back"):
                continue
            driver.commit(lane, piece)
            if piece.last:
                break
        else:
            pytest.fail("the lane did not end")

    assert driver.swept == Counter(values)
    assert lane.position.done
    assert lane.next(lane.position, 1, 1) is None


async def test_sixteen_batches_of_one_size_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(list(range(100_000)), monkeypatch)
    lane = IndexLane("i", target(), leaf="1", has_places=True)
    for batch in range(32):
        # steered a little from batch to batch, as the pace does
        piece = await driver.piece(lane, 1000 - 7 * batch, 5000)
        assert piece is not None
        driver.commit(lane, piece)
    assert driver.reads == [1000, 1000 - 7 * 16]


async def test_a_halved_size_is_obeyed_and_a_larger_one_joins_what_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driver = Driver(list(range(100_000)), monkeypatch)
    lane = IndexLane("i", target(), leaf="1", has_places=True)
    units = []
    for size in (1000, 500, 1500, 1500, 4000):
        piece = await driver.piece(lane, size, 5000)
        assert piece is not None
        units.append(piece.units)
        if size != 1000:  # that one was rolled back
            driver.commit(lane, piece)
    assert units == [1000, 500, 1500, 1500, 4000]
    assert driver.reads == [1000, 500]


async def test_a_size_that_grew_is_not_held_back_by_the_last_of_the_known_bounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driver = Driver(list(range(10_000)), monkeypatch)
    lane = IndexLane("i", target(), leaf="1", has_places=True)
    units = []
    for size in [100] * 14 + [1000, 1000]:
        piece = await driver.piece(lane, size, 5000)
        assert piece is not None
        units.append(piece.units)
        driver.commit(lane, piece)
    assert units == [100] * 14 + [1000, 1000]
    assert driver.reads == [100, 1000]


async def test_bounds_are_dropped_when_the_position_is_none_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driver = Driver(list(range(1000)), monkeypatch)
    lane = IndexLane("i", target(), leaf="1", has_places=True)
    first = await driver.piece(lane, 10, 10)
    assert first is not None
    lane.position = KeyPosition(533)

    with pytest.raises(LookupError, match="not prepared"):
        lane.next(lane.position, 10, 10)
    piece = await driver.piece(lane, 10, 10)

    assert piece is not None
    assert piece.part == KeyRange(533, 543)


async def test_a_reading_is_three_messages_and_leaves_no_setting_behind(
    database: TestDatabase,
) -> None:
    await database.execute(
        "CREATE TABLE t (at bigint); INSERT INTO t SELECT generate_series(1, 1000);"
        "CREATE INDEX ON t (at)"
    )
    lane = IndexLane("i", target(), leaf="1", has_places=True)
    server = database.server
    async with Proxy(Path(server.directory) / f".s.PGSQL.{server.port}") as proxy:
        dsn = proxy.dsn(database.name)
        async with Database(DatabaseConfig(name="app", dsn=dsn)).connection() as connection:
            switches = ("enable_sort", "enable_bitmapscan", "jit", "transaction_read_only")
            before = [await connection.fetchval(f"SHOW {name}") for name in switches]
            seen = proxy.seen

            await lane.prepare(connection, Frame(), lane.position, 10, 10)

            assert proxy.seen == seen + 3
            assert not connection.is_in_transaction()
            assert before == [await connection.fetchval(f"SHOW {name}") for name in switches]
    piece = lane.next(lane.position, 10, 10)
    assert piece is not None
    assert piece.part == KeyRange(None, 10)


async def test_a_reading_that_takes_too_long_is_tried_with_fewer_bounds_and_then_fails(
    database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.execute(
        "CREATE TABLE t (at bigint); INSERT INTO t SELECT generate_series(1, 200000)"
    )
    monkeypatch.setattr("sweeperd.sweep.lanes.bounds._LEAST_TIMEOUT_MS", 1)
    connection = await database.integer_times()
    lane = IndexLane("i", target(), leaf="1", has_places=True)

    with pytest.raises(asyncpg.QueryCanceledError):
        await lane.prepare(connection, Frame(statement_timeout_ms=1), lane.position, 9999, 9999)

    assert not connection.is_in_transaction()
    assert lane._count == 1
