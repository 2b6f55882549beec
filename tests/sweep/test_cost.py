"""The size of batches follows their cost, a fixed part and one for each unit."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeperd.sweep.execute.cost import CostModel
from sweeperd.sweep.execute.pace import Pace

TARGET = 0.1
LARGEST = 100_000_000


def settled(fixed: float, per_unit: float, *, noise: float = 0.0, seed: int = 1) -> int:
    """Return the size after 60 batches of a server that costs that much."""
    chance = random.Random(seed)
    pace = Pace(TARGET, 582, LARGEST)
    for _ in range(60):
        size = pace.size
        pace.record(size, (fixed + per_unit * size) * (1 + chance.uniform(-noise, noise)))
    return pace.size


@given(
    fixed=st.floats(0, TARGET / 3),
    per_unit=st.floats(1e-8, 1e-2),
    seed=st.integers(0, 1000),
)
def test_batches_settle_within_a_factor_of_two_of_the_target(
    fixed: float, per_unit: float, seed: int
) -> None:
    size = settled(fixed, per_unit, noise=0.1, seed=seed)

    cost = fixed + per_unit * size
    assert cost <= TARGET * 2 or size == 1
    assert cost >= TARGET / 2 or size == LARGEST


@pytest.mark.parametrize("fixed", [0.2, 1.0])
def test_a_fixed_cost_above_the_target_makes_batches_larger(fixed: float) -> None:
    per_unit = 1e-6

    size = settled(fixed, per_unit)

    assert size * per_unit >= fixed / 4, "a good part of the time is spent on rows"


@given(batches=st.lists(st.tuples(st.floats(0, 1e6), st.booleans()), max_size=60))
def test_a_size_is_never_below_one_or_above_the_bound(batches: list[tuple[float, bool]]) -> None:
    pace = Pace(TARGET, 582, 50_000)
    for seconds, in_time in batches:
        if in_time:
            pace.record(pace.size, seconds)
        else:
            pace.halve()
        assert 1 <= pace.size <= 50_000


def test_sizes_that_were_alike_tell_nothing_of_a_fixed_part() -> None:
    cost = CostModel()
    for _ in range(5):
        cost.take(1000, 0.5)

    assert cost.fixed == pytest.approx(0.0)
    assert cost.per_unit == pytest.approx(0.0005)


def test_a_timeout_halves_at_once() -> None:
    pace = Pace(TARGET, 1000, LARGEST)

    pace.halve()

    assert pace.size == 500
