"""Numbers that stage 2 teaches: draws whose mean is the label, and a bounded share of low ones."""

from __future__ import annotations

import random
from collections import Counter
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forethought.errors import InputError
from forethought.foresight.levels import nearest_level
from forethought.hindsight.records import Label, Labelled
from forethought.hindsight.targets import balanced, drawn_label
from forethought.hindsight.trajectory import Step, Trajectory
from forethought.types import Action, StopReason, Task


def item(number: int, s: int, k: int, prior: float = 0.4, strength: float = 1.0) -> Labelled:
    answer = Step(think="", action=Action(kind="answer", text="y"), observation="")
    value = (s + strength * prior) / (k + strength)
    return Labelled(
        trajectory=Trajectory(
            task=Task(id=f"t{number}", question="?", answers=("y",), kind="qa"),
            source_policy="wanderer",
            steps=(answer,),
            success=True,
            stop_reason=StopReason.ANSWER,
        ),
        labels=(Label(value=value, source="monte_carlo", s=s, k=k, prior=prior),),
    )


@pytest.mark.parametrize(("s", "k"), [(0, 2), (1, 2), (2, 2)])
def test_draws_have_the_label_as_their_mean_and_use_many_levels(s: int, k: int) -> None:
    items = [item(number, s, k) for number in range(4000)]
    drawn = [drawn_label(each, 0, 1.0, seed=7) for each in items]
    assert fmean(drawn) == pytest.approx(items[0].labels[0].value, abs=0.015)
    assert len({nearest_level(value) for value in drawn}) >= 15
    assert len({nearest_level(each.labels[0].value) for each in items}) == 1


def test_a_draw_is_a_function_of_seed_and_task() -> None:
    one, two = item(1, 1, 2), item(2, 1, 2)
    assert drawn_label(one, 0, 1.0, 7) == drawn_label(one, 0, 1.0, 7)
    assert drawn_label(one, 0, 1.0, 7) != drawn_label(one, 0, 1.0, 8)
    assert drawn_label(one, 0, 1.0, 7) != drawn_label(two, 0, 1.0, 7)


def test_an_outcome_without_a_prior_is_certain_and_stays() -> None:
    sure = item(1, 1, 1, strength=0.0)
    assert drawn_label(sure, 0, 0.0, 7) == 1.0


def _mixed(low: int, high: int, seed: int = 0) -> list[float]:
    labels = [0.1] * low + [0.9] * high
    random.Random(seed).shuffle(labels)
    return labels


@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted).map(tuple),
)
def test_the_share_of_low_ones_is_within_its_bounds_and_nothing_more_is_dropped(
    low: int, high: int, bounds: tuple[float, float]
) -> None:
    labels = _mixed(low, high)
    try:
        kept = balanced(labels, bounds)
    except InputError:  # only where there are few, or one kind is not wanted at all
        assert (
            min(low, high) < 20
            or bounds[0] > 0.95
            or bounds[1] < 0.05
            or bounds[1] - bounds[0] < 0.1
        )
        return
    count = Counter(labels[index] < 0.5 for index in kept)
    assert kept == sorted(set(kept))
    share = count[True] / len(kept)
    assert bounds[0] - 1e-6 <= share <= bounds[1] + 1e-6
    assert low == count[True] or high == count[False], "one kind is whole"
    if count[True] < low:  # one more would be too many
        assert (count[True] + 1) / (len(kept) + 1) > bounds[1] - 1e-6
    if count[False] < high:
        assert count[True] / (len(kept) + 1) < bounds[0] + 1e-6


def test_without_bounds_all_stay_in_order() -> None:
    assert balanced(_mixed(3, 5), (0.0, 1.0)) == list(range(8))
    assert balanced([], (0.3, 0.7)) == []


def test_bounds_that_nothing_can_meet_are_refused() -> None:
    with pytest.raises(InputError, match="0 of 4 episodes"):
        balanced(_mixed(0, 4), (0.3, 1.0))
