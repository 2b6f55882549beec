"""The guard of jumps over weeks of realistic loads, and what it must still find."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeperd.daemon.state.memory import memory_from_json
from sweeperd.sweep.guards.holds import jump_hold
from sweeperd.sweep.outcome.memory import SweepMemory
from sweeperd.sweep.outcome.usual_load import Amount, UsualLoad
from tests.conftest import TestDatabase
from tests.memory_file import memory_to_json
from tests.sweep.engine import sweep

MINUTE = 60_000_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
WEEK = 7 * DAY


@dataclass
class Table:
    """A table of rows, each known by when it expires, and the sweep on it."""

    interval: int
    keep: int
    max_jump: float | None = 10.0
    now: int = 0
    rows: list[int] = field(default_factory=list)
    load: UsualLoad | None = None

    @classmethod
    def filled(cls, interval: int, keep: int, rows_at: Callable[[int], int]) -> Table:
        """Return a table that has been written to for as long as its rows are kept."""
        table = cls(interval, keep)
        for hour in range(-keep // HOUR, 0):
            table.write(rows_at(hour), hour * HOUR)
        return table

    def write(self, count: int, at: int) -> None:
        """Insert rows, in the order of time."""
        self.rows += [at + self.keep] * count

    def run(self) -> str | None:
        """Run the sweep; return why it is held."""
        amount = self.expired()
        held = jump_hold(amount, self.now, self.load, self.max_jump)
        if held is None:
            self.drain(amount)
        return held

    def expired(self) -> Amount:
        gone = bisect_right(self.rows, self.now)
        return Amount(gone / len(self.rows) if self.rows else 0.0, float(gone))

    def drain(self, amount: Amount) -> None:
        """Delete what is expired, past what holds it."""
        self.load = self.load.found(amount, self.now) if self.load else None
        del self.rows[: bisect_right(self.rows, self.now)]
        self.load = self.load.drained(self.now) if self.load else UsualLoad(self.now)

    def live(self, length: int, rows_at: Callable[[int], int]) -> list[str]:
        """Write what is due and run, for so long; return what held the sweep."""
        held = []
        end, written = self.now + length, self.now
        while self.now < end:
            self.now += self.interval
            while written + HOUR <= self.now:
                self.write(rows_at(written // HOUR), written)
                written += HOUR
            why = self.run()
            if why is not None:
                held.append(why)
                self.drain(self.expired())  # released
        return held

    def expire_most(self) -> None:
        """Someone sets the time of nine rows of ten into the past."""
        some = len(self.rows) * 9 // 10
        self.rows = [self.now - 1] * some + self.rows[some:]


def steady(hour: int) -> int:
    """As much in each hour."""
    return 40 + hour % 3


def office_hours(hour: int) -> int:
    """From Saturday on: nothing at night and on weekends."""
    return 60 if 8 <= hour % 24 < 18 and hour // 24 % 7 >= 2 else 0


def weekly(hour: int) -> int:
    """One load a week."""
    return 2000 if hour % (24 * 7) == 30 else 0


def monthly(hour: int) -> int:
    """One load a month, beside a trickle."""
    return 3000 if hour % (24 * 30) == 50 else 1


@pytest.mark.parametrize("interval", [15 * MINUTE, HOUR, 6 * HOUR, DAY, WEEK])
@pytest.mark.parametrize(
    ("rows_at", "keep"),
    [
        (steady, 2 * DAY),
        (steady, 30 * DAY),
        (office_hours, 8 * HOUR),
        (office_hours, 30 * DAY),
        (weekly, 4 * WEEK),
        (weekly, 12 * WEEK),
        (monthly, 120 * DAY),
    ],
)
def test_an_ordinary_load_never_holds(
    interval: int, rows_at: Callable[[int], int], keep: int
) -> None:
    table = Table(interval, keep)

    assert table.live(20 * WEEK, rows_at) == []


@pytest.mark.parametrize("interval", [HOUR, 6 * HOUR])
def test_a_first_load_of_most_of_the_table_holds_once(interval: int) -> None:
    table = Table(interval, WEEK)  # each load has replaced the last when that expires

    assert len(table.live(20 * WEEK, weekly)) == 1


@pytest.mark.parametrize("interval", [15 * MINUTE, HOUR, 6 * HOUR, DAY])
@pytest.mark.parametrize(
    ("rows_at", "keep"),
    [(steady, 30 * DAY), (office_hours, 60 * DAY), (weekly, 52 * WEEK), (monthly, 1500 * DAY)],
)
def test_a_catastrophe_holds(interval: int, rows_at: Callable[[int], int], keep: int) -> None:
    table = Table.filled(interval, keep, rows_at)
    assert table.live(6 * WEEK, rows_at) == []

    table.now += interval
    table.expire_most()

    why = table.run()
    assert why is not None
    assert "more than max_jump (10) times the usual" in why


@pytest.mark.parametrize("interval", [HOUR, 6 * HOUR])
def test_a_catastrophe_in_the_first_month_holds(interval: int) -> None:
    table = Table(interval, 60 * DAY)
    assert table.live(30 * DAY, steady) == []

    table.now += interval
    table.expire_most()

    assert table.run() is not None


@pytest.mark.parametrize("pause", [HOUR, DAY, WEEK])
def test_what_gathers_while_the_sweep_is_off_is_no_jump(pause: int) -> None:
    table = Table(5 * MINUTE, 2 * DAY)
    assert table.live(2 * WEEK, steady) == []

    for hour in range(pause // HOUR):
        table.write(steady(hour), table.now + hour * HOUR)
    table.now += pause

    assert table.run() is None


def test_the_backlog_before_the_first_drained_run_is_not_usual() -> None:
    table = Table(HOUR, 60 * DAY)
    table.write(60_000, -61 * DAY)
    assert table.live(5 * DAY, steady) == []

    table.now += HOUR
    table.expire_most()

    assert table.run() is not None


def test_a_released_jump_that_takes_more_than_one_run_is_not_held_again() -> None:
    table = Table(HOUR, 30 * DAY)
    table.live(5 * DAY, steady)
    table.expire_most()
    assert table.run() is not None
    assert table.load is not None

    # released, but the run's timeout comes before the end
    table.load = table.load.found(table.expired(), table.now)
    del table.rows[: len(table.rows) // 4]
    table.now += MINUTE

    assert table.run() is None


@pytest.mark.parametrize(("rows", "held"), [(9, False), (10, False), (11, True)])
def test_a_few_rows_are_no_jump(rows: int, *, held: bool) -> None:
    past = UsualLoad(0, runs=3)

    assert (jump_hold(Amount(1.0, float(rows)), HOUR, past, 10.0) is not None) is held


def test_a_number_of_rows_that_is_not_known_does_not_excuse() -> None:
    assert jump_hold(Amount(0.9, None), HOUR, UsualLoad(0, runs=3), 10.0) is not None


@pytest.mark.parametrize(
    ("most", "held"), [(1.5, True), (10.0, True), (40.0, False), (None, False)]
)
def test_the_key_tunes_the_guard(most: float | None, *, held: bool) -> None:
    past = UsualLoad(0, runs=3)

    assert (jump_hold(Amount(0.9, 5000), HOUR, past, most) is not None) is held


def test_the_former_form_of_the_memory_still_guards() -> None:
    rates = [0.001, 0.001, 15.0, 0.001]
    past = memory_from_json({"drained": {"drained_at": 0, "rates": rates}}).usual_load

    assert past is not None
    assert jump_hold(Amount(0.9, 5000), HOUR, past, 10.0) is not None
    assert jump_hold(Amount(0.02, 100), HOUR, past, 10.0) is None


runs = st.lists(
    st.tuples(
        st.integers(1, 20 * DAY),
        st.floats(0, 1, allow_nan=False),
        st.floats(0, 1e9, allow_nan=False),
        st.booleans(),
    ),
    min_size=1,
    max_size=40,
)


@given(runs)
def test_what_a_run_found_stays_usual_for_forty_days(
    series: list[tuple[int, float, float, bool]],
) -> None:
    now, load = 0, UsualLoad(0)
    seen: list[tuple[int, float, float]] = []
    for gap, share, rows, drained in series:
        now += gap
        load = load.found(Amount(share, rows), now)
        seen.append((now, share, rows))
        if drained:
            load = load.drained(now)
        expected = load.expected(now)
        recent = [one for one in seen if now // DAY - one[0] // DAY <= 40]
        assert expected.share >= max(one[1] for one in recent)
        assert (expected.rows or 0) >= max(one[2] for one in recent)
        assert len(load.days) <= 41
        stored = json.dumps(memory_to_json(SweepMemory(usual_load=load)))
        assert memory_from_json(json.loads(stored)).usual_load == load


async def test_a_weekly_load_is_swept_and_a_catastrophe_is_not(database: TestDatabase) -> None:
    await database.execute(
        "CREATE TABLE t AS SELECT g AS id, now() + interval '9 days' AS expires_at "
        "FROM generate_series(1, 3000) g"
    )
    memory = SweepMemory()
    for _ in range(5):  # a week in which nothing expires
        assert (await sweep(database.dsn, memory=memory, release=False)).outcome == "drained"

    await database.execute("UPDATE t SET expires_at = now() WHERE id % 4 = 0")
    report = await sweep(database.dsn, memory=memory, release=False)
    assert (report.outcome, report.deleted_count) == ("drained", 750)

    assert memory.usual_load is not None
    memory.usual_load = UsualLoad(memory.usual_load.drained_at, runs=9)  # long ago
    await database.execute("UPDATE t SET expires_at = now() WHERE id % 10 > 0")
    report = await sweep(database.dsn, memory=memory, release=False)
    assert (report.outcome, report.deleted_count) == ("held", 0)
    assert "max_jump (10)" in (report.end_reason or "")

    report = await sweep(database.dsn, memory=memory, release=False, max_jump="off")
    assert report.outcome == "drained"
    assert report.deleted_count > 1000
