"""How many expired rows a unit holds decides how large a batch is that may delete only some."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sweeperd.sweep.execute.density import Density


def walk(density: Density, table: list[int], limit: int) -> tuple[int, int, int]:
    """Sweep a table of so many expired rows in each unit; return batches, refusals and rows."""
    at = batches = refusals = deleted = 0
    while at < len(table):
        units = min(max(int(limit * 0.95 / density.most), 1), len(table) - at)
        rows = sum(table[at : at + units])
        if rows > limit:
            density.refused(units, limit)
            refusals += 1
            continue
        density.take(units, rows)
        at, batches, deleted = at + units, batches + 1, deleted + rows
    return batches, refusals, deleted


def test_few_expired_rows_take_few_batches_though_each_may_delete_but_ten() -> None:
    table = [0] * 200_000
    for number in range(10):
        table[number * 20_000 + 777] = 1

    batches, refusals, deleted = walk(Density(0.9), table, 10)

    assert deleted == 10
    assert batches + refusals < 100


def test_a_full_part_behind_an_empty_one_is_met_with_few_refusals() -> None:
    table = [0] * 100_000 + [1] * 1_000

    _, refusals, deleted = walk(Density(0.0), table, 10)

    assert deleted == 1_000
    assert refusals <= 12


def test_an_even_table_fills_its_batches_and_none_is_refused() -> None:
    batches, refusals, _ = walk(Density(1.0), [1, 0, 0, 0] * 50_000, 1_000)

    assert refusals == 0
    assert batches <= 2 * 50


def test_a_page_that_is_full_behind_the_empty_end_of_another_is_not_refused() -> None:
    page = [1] * 226 + [0] * 65

    _, refusals, _ = walk(Density(0.0), page * 40, 50)

    assert refusals == 0


def test_before_anything_was_seen_statistics_count_and_without_them_each_unit_is_a_row() -> None:
    assert Density(0.2).most == 0.25
    assert Density(0.9).most == 1.0
    assert Density(0.0).most == 1.0


@given(st.lists(st.integers(0, 3), max_size=300), st.integers(3, 60), st.floats(0, 2))
def test_any_table_is_swept_to_its_end(table: list[int], limit: int, statistics: float) -> None:
    _, refusals, deleted = walk(Density(statistics), table, limit)

    assert deleted == sum(table)
    assert refusals <= 4 * (len(table) + 1)
