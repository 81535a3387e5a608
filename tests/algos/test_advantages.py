import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forethought.algos.advantages import (
    NORMALISERS,
    centre,
    group_zscore,
    leave_one_out,
    others_mean,
)

numbers = st.floats(-100, 100, allow_nan=False)
groups = st.lists(st.one_of(st.none(), numbers), min_size=1, max_size=8)


@pytest.mark.parametrize("name", sorted(NORMALISERS))
@given(value=numbers, size=st.integers(1, 7))
def test_a_group_of_equal_numbers_has_advantage_exactly_zero(name, value, size):
    assert NORMALISERS[name]([value] * size) == [0.0] * size


@pytest.mark.parametrize("name", sorted(NORMALISERS))
@given(values=groups)
def test_missing_members_stay_missing_and_all_else_is_finite(name, values):
    result = NORMALISERS[name](values)
    assert [v is None for v in result] == [v is None for v in values]
    assert all(math.isfinite(v) for v in result if v is not None)


@pytest.mark.parametrize("name", sorted(NORMALISERS))
def test_a_single_survivor_gets_zero(name):
    assert NORMALISERS[name]([None, 3.0, None]) == [None, 0.0, None]


def test_zscore_divides_by_the_population_deviation_without_epsilon():
    assert group_zscore([0.0, 0.0, 0.0, 1.0]) == pytest.approx(
        [-0.5773502692, -0.5773502692, -0.5773502692, 1.7320508076]
    )
    assert group_zscore([0.0, 1e-13]) == [0.0, 0.0]
    assert group_zscore([0.0, 1e-11]) == pytest.approx([-1.0, 1.0])


@given(values=st.lists(numbers, min_size=2, max_size=8), at=st.integers(0, 7), shift=numbers)
def test_the_others_mean_does_not_depend_on_the_own_value(values, at, shift):
    at %= len(values)
    changed = [v + shift if i == at else v for i, v in enumerate(values)]
    assert others_mean(changed)[at] == others_mean(values)[at]


@given(values=st.lists(numbers, min_size=2, max_size=8))
def test_the_own_mean_shrinks_the_leave_one_out_advantage_by_one_minus_one_over_n(values):
    shrink = 1 - 1 / len(values)
    for own, left_out in zip(centre(values), leave_one_out(values), strict=True):
        assert own == pytest.approx(shrink * left_out, abs=1e-9)


def test_a_member_without_a_number_still_has_a_baseline():
    assert others_mean([None, 1.0, 3.0]) == [2.0, 3.0, 1.0]
    assert others_mean([1.0, None]) == [None, 1.0]
