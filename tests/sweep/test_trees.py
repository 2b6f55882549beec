"""Rows of a table that refers to itself: a row goes with all that lies below it, or stays."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeperd.log.run_events import RowSkipped
from sweeperd.sweep.execute import trees
from sweeperd.sweep.execute.trees import Edge, leaves_first
from tests.conftest import TestDatabase
from tests.sweep.engine import Heard, sweep

TABLE = (
    "CREATE TABLE t (id int PRIMARY KEY, parent int, expires_at timestamptz);"
    "CREATE INDEX ON t (parent); CREATE INDEX ON t (expires_at);"
)
FILL = "INSERT INTO t SELECT * FROM unnest($1::int[], $2::int[], $3::timestamptz[])"
KEY = "ALTER TABLE t ADD FOREIGN KEY (parent) REFERENCES t"


def going(parents: dict[int, int | None], staying: set[int]) -> set[int]:
    """The model: every row that is neither live nor above a live one."""
    kept = set(staying)
    for row in staying:
        above = parents[row]
        while above is not None and above not in kept:
            kept.add(above)
            above = parents[above]
    return set(parents) - kept


@given(st.lists(st.sets(st.integers(0, 9), max_size=2), max_size=10), st.sets(st.integers(0, 9)))
def test_each_row_comes_behind_those_below_it(above: list[set[int]], staying: set[int]) -> None:
    """Row n refers to rows before it."""
    parents = {n: {up for up in ups if up < n} for n, ups in enumerate(above)}
    edges: list[Edge] = [((0, n), None, n not in staying) for n in parents]
    edges += [((0, n), (0, up), n not in staying) for n in parents for up in parents[n]]

    order = [number for _, number in leaves_first(edges)]

    kept = {n for n in parents if n in staying}
    for n in sorted(parents, reverse=True):
        kept |= parents[n] if n in kept else set()
    assert sorted(order) == sorted(set(parents) - kept)
    for place, n in enumerate(order):
        assert not parents[n] & set(order[:place])


def test_a_circle_and_a_row_that_refers_to_itself_go() -> None:
    edges = [((0, 1), (0, 1), True), ((0, 2), (0, 3), True), ((0, 3), (0, 2), True)]

    assert sorted(leaves_first(edges)) == [(0, 1), (0, 2), (0, 3)]


async def fill(
    database: TestDatabase, parents: dict[int, int | None], live: set[int], order: list[int]
) -> None:
    at = await database.fetchval("SELECT now()")
    hour = await database.fetchval("SELECT interval '1 hour'")
    expires = [at + hour if row in live else at - hour for row in order]
    await database.execute(FILL, order, [parents[row] for row in order], expires)


async def left(database: TestDatabase) -> set[int]:
    return {row["id"] for row in await database.fetch("SELECT id FROM t")}


@pytest.mark.every_server
@pytest.mark.parametrize("strategy", ["heap", "index"])
@pytest.mark.parametrize("most", [37, 50_000])
async def test_rows_go_with_what_is_below_them_and_stay_with_what_is_live(
    database: TestDatabase, strategy: str, most: int
) -> None:
    number = random.Random(most)
    parents: dict[int, int | None] = {1: None}
    for row in range(2, 1_500):
        parents[row] = number.choice([None, row - 1, number.randint(1, row - 1)])
    live = set(number.sample(sorted(parents), 25))
    order = sorted(parents, key=lambda _: number.random())
    await database.execute(TABLE)
    await fill(database, parents, live, order)
    referenced = next(row for row in order if row not in live)
    await database.execute(
        f"{KEY}; CREATE TABLE c (t int REFERENCES t); INSERT INTO c VALUES ({referenced});"
        "INSERT INTO t VALUES (5000, 5000, now() - interval '1 day');"
        "INSERT INTO t VALUES (5001, NULL, now() - interval '1 day'),"
        " (5002, 5001, now() - interval '1 day'); UPDATE t SET parent = 5002 WHERE id = 5001"
    )
    heard = Heard()

    report = await sweep(database.dsn, strategy=strategy, max_batch_rows=most, heard=heard)

    gone = going(parents, live | {referenced})
    assert await left(database) == set(parents) - gone, report
    assert (report.outcome, heard.of(RowSkipped)) == ("drained", [])
    assert report.deleted_count == len(gone) + 3
    assert report.kept_referenced == report.skipped_count == len(parents) - len(gone) - len(live)


async def test_rows_that_refer_to_rows_far_before_them_go_in_one_run(
    database: TestDatabase,
) -> None:
    await database.execute(
        TABLE + "INSERT INTO t SELECT g, CASE WHEN g > 500 THEN g - 500 END, now() - interval "
        f"'1 hour' FROM generate_series(1, 5000) g; {KEY}"
    )

    report = await sweep(database.dsn, where="id <> 4999")

    assert await left(database) == {4999 - 500 * n for n in range(10)}
    assert (report.outcome, report.kept_referenced) == ("drained", 9), report
    assert not any("was stepped over" in warning for warning in report.warnings)
    assert not any("before" in warning for warning in report.warnings)


async def test_a_tree_that_is_too_large_to_be_read_goes_leaves_first(
    database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees, "_MOST_ROWS", 50)
    await database.execute(
        TABLE + "INSERT INTO t SELECT g, nullif(g % 3, g), now() - interval '1 hour' "
        f"FROM generate_series(0, 600) g; {KEY}"
    )
    report: Any = None
    for _ in range(3):
        report = await sweep(database.dsn)

    assert await left(database) == set(), report


@pytest.mark.every_server
@pytest.mark.parametrize("strategy", ["heap", "index"])
@pytest.mark.parametrize("most", [29, 50_000])
async def test_a_cascade_to_the_table_itself_takes_no_live_row(
    database: TestDatabase, strategy: str, most: int
) -> None:
    number = random.Random(most)
    parents: dict[int, int | None] = {1: None}
    for row in range(2, 1_200):
        parents[row] = number.choice([None, row - 1, number.randint(1, row - 1)])
    live = set(number.sample(sorted(parents), 20))
    order = sorted(parents, key=lambda _: number.random())
    await database.execute(TABLE)
    await fill(database, parents, live, order)
    await database.execute(f"{KEY} ON DELETE CASCADE")

    report = await sweep(database.dsn, strategy=strategy, max_batch_rows=most)

    gone = going(parents, live)
    assert await left(database) == set(parents) - gone, report
    assert (report.outcome, report.deleted_count) == ("drained", len(gone))
    assert report.kept_referenced == len(parents) - len(gone) - len(live)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE t SET expires_at = now() + interval '1 hour' WHERE id % 300 = 0",
        "INSERT INTO t SELECT 10000 + g, g * 300, now() + interval '1 hour' "
        "FROM generate_series(1, 10) g",
        "UPDATE t SET parent = id - 1 WHERE id % 300 = 1 AND id > 1",
    ],
)
async def test_rows_renewed_or_added_before_the_delete_are_not_taken_along(
    database: TestDatabase, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """It happens between the reading of the trees and their first batch."""
    await database.execute(
        TABLE + "INSERT INTO t SELECT g, CASE WHEN g % 300 <> 1 THEN g - 1 END, now() - interval "
        f"'1 hour' FROM generate_series(1, 3000) g; {KEY} ON DELETE CASCADE;"
        "CREATE TABLE seen (id int); CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN IF OLD.expires_at > now() THEN INSERT INTO seen VALUES (OLD.id); END IF; "
        "RETURN OLD; END $$;"
        "CREATE TRIGGER note BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION note()"
    )
    other = await database.connect()
    read = trees.Trees._read
    changes = [change]

    async def read_then_change(self: trees.Trees, part: Any) -> Any:
        edges = await read(self, part)
        if changes:
            await other.execute(changes.pop())
        return edges

    monkeypatch.setattr(trees.Trees, "_read", read_then_change)

    report = await sweep(database.dsn, strategy="heap")

    assert await database.fetchval("SELECT count(*) FROM seen") == 0, report
    live = await database.fetchval("SELECT count(*) FROM t WHERE expires_at > now()")
    assert live == (0 if "parent = id - 1" in change else 10)
    assert await database.fetchval(
        "SELECT count(*) FROM t c WHERE parent IS NOT NULL AND NOT EXISTS "
        "(SELECT FROM t p WHERE p.id = c.parent)"
    ) == 0  # fmt: skip


async def test_a_row_renewed_while_the_batch_waits_keeps_those_above_it(
    database: TestDatabase,
) -> None:
    await database.execute(
        TABLE + "INSERT INTO t SELECT g, nullif(g - 1, 0), now() - interval '1 hour' "
        f"FROM generate_series(1, 200) g; {KEY} ON DELETE CASCADE"
    )
    holder = await database.connect()
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("UPDATE t SET expires_at = now() + interval '1 hour' WHERE id = 100")

    report = await sweep(database.dsn)
    await transaction.commit()

    assert await left(database) == set(range(1, 101)), report
    assert report.outcome == "incomplete"
