"""The size of batches follows their cost, a fixed part and one for each unit."""

from __future__ import annotations

import random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeperd.sweep.execute.cost import CostModel
from sweeperd.sweep.execute.pace import Pace

TARGET = 0.1
MOST = 0.375
LARGEST = 100_000_000


def paced(
    fixed: float,
    per_unit: float,
    *,
    noise: float = 0.0,
    seed: int = 1,
    batches: int = 60,
    pace: Pace | None = None,
) -> tuple[Pace, list[float], int]:
    """Run batches on a server that costs that much; return their times and the timeouts."""
    chance = random.Random(seed)
    pace = pace or Pace(TARGET, 582, LARGEST, MOST)
    times, timeouts = [], 0
    for _ in range(batches):
        size = pace.size
        seconds = (fixed + per_unit * size) * (1 + chance.uniform(-noise, noise))
        if seconds > MOST:
            pace.halve(size)
            timeouts += 1
        else:
            pace.record(size, seconds)
            times.append(seconds)
    return pace, times, timeouts


@given(
    fixed=st.floats(0, TARGET),
    per_unit=st.floats(1e-8, 1e-2),
    noise=st.sampled_from([0.0, 0.05, 0.1]),
    seed=st.integers(0, 1000),
)
def test_batches_settle_within_a_factor_of_two_of_the_target(
    fixed: float, per_unit: float, noise: float, seed: int
) -> None:
    pace, _, _ = paced(fixed, per_unit, noise=noise, seed=seed)

    # where the fixed part is most of the target, units take about as long as that part
    cost, wanted = fixed + per_unit * pace.size, max(TARGET, 2 * fixed)
    assert cost <= wanted * 1.5 or pace.size == 1
    assert cost >= TARGET / 2 or pace.size == LARGEST


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("fixed", [0.06, 0.08, 0.1, 0.15, 0.2])
def test_a_fixed_cost_near_or_above_the_target_makes_batches_larger(
    fixed: float, noise: float
) -> None:
    per_unit = 1e-6

    shares = []
    for seed in range(5):
        pace, _, _ = paced(fixed, per_unit, noise=noise, seed=seed)
        shares.append(per_unit * pace.size / (fixed + per_unit * pace.size))

    assert fmean(shares) >= 0.25, "a good part of the time is spent on rows"


def test_a_first_size_that_takes_the_target_is_halved_once_to_tell_the_two_parts_apart() -> None:
    pace = Pace(TARGET, 582, LARGEST, MOST)

    pace.record(582, 0.08)

    assert pace.size == 291
    pace.record(291, 0.08)
    assert pace.size > 291 * 1.5, "the cost stayed, so it is fixed"


@pytest.mark.parametrize("fixed", [0.1, 0.15, 0.2, 0.25])
def test_a_fixed_cost_makes_no_batch_as_long_as_the_server_allows(fixed: float) -> None:
    _, times, timeouts = paced(fixed, 1e-6, noise=0.05)

    assert timeouts == 0
    assert max(times) < MOST


@pytest.mark.parametrize("per_unit", [1e-4, 1e-3, 1e-2])
def test_rows_that_become_slow_shrink_batches_at_once(per_unit: float) -> None:
    pace, _, _ = paced(0.002, 1e-6)

    _, times, timeouts = paced(0.002, per_unit, noise=0.1, batches=10, pace=pace)

    assert timeouts <= 5
    assert sum(seconds > 2 * TARGET for seconds in times) <= 2


@pytest.mark.parametrize(
    ("per_unit", "batches"), [(1e-7, 5), (1e-6, 4), (1e-5, 3), (1e-4, 2), (1e-3, 2)]
)
def test_few_batches_lead_to_the_target_and_none_far_beyond(per_unit: float, batches: int) -> None:
    pace = Pace(TARGET, 582, LARGEST)
    for number in range(batches):
        size = pace.size
        seconds = 0.002 + per_unit * size
        assert seconds <= TARGET or number == 0, "the first one is all that could be too large"
        pace.record(size, seconds)

    assert TARGET / 2 <= 0.002 + per_unit * pace.size <= TARGET


def test_the_last_batch_of_a_table_makes_the_next_ones_no_smaller() -> None:
    pace, _, _ = paced(0.002, 1e-6)
    before = pace.size

    pace.record(5, 0.002)

    assert pace.size >= before / 2


@given(batches=st.lists(st.tuples(st.floats(0, 1e6), st.booleans()), max_size=60))
def test_a_size_is_never_below_one_or_above_the_bound(batches: list[tuple[float, bool]]) -> None:
    pace = Pace(TARGET, 582, 50_000)
    for seconds, in_time in batches:
        if in_time:
            pace.record(pace.size, seconds)
        else:
            pace.halve()
        assert 1 <= pace.size <= 50_000


@given(
    batches=st.lists(
        st.tuples(st.integers(1, LARGEST), st.floats(0, 1e6, allow_subnormal=False)), min_size=1
    )
)
def test_neither_part_of_a_cost_is_below_zero(batches: list[tuple[int, float]]) -> None:
    cost = CostModel()
    for units, seconds in batches:
        cost = cost.take(units, seconds)
        assert cost.fixed >= 0
        assert cost.per_unit > 0


@given(fixed=st.floats(0, 1), per_unit=st.floats(1e-8, 1e-2))
def test_sizes_that_differ_tell_both_parts_apart(fixed: float, per_unit: float) -> None:
    cost = CostModel()
    for _ in range(20):
        for units in (100, 1_000, 10_000):
            cost = cost.take(units, fixed + per_unit * units)

    assert cost.is_told_apart
    assert cost.fixed == pytest.approx(fixed, rel=0.05, abs=per_unit * 100)
    assert cost.per_unit == pytest.approx(per_unit, rel=0.05)


def test_sizes_that_were_alike_keep_the_proportion_of_the_two_parts() -> None:
    cost = CostModel()
    for _ in range(5):
        cost = cost.take(1000, 0.5)
    assert cost.fixed == pytest.approx(0.0)
    assert cost.per_unit == pytest.approx(0.0005)

    for units in (100, 1_000, 10_000) * 20:
        cost = cost.take(units, 1.0 + 0.001 * units)
    for _ in range(100):
        cost = cost.take(10_000, 11.0)

    assert cost.fixed == pytest.approx(1.0, rel=0.2)


def test_a_timeout_halves_at_once() -> None:
    pace = Pace(TARGET, 1000, LARGEST)

    pace.halve()

    assert pace.size == 500
