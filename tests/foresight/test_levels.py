"""Laws of the 21 levels and of the scores of one estimate."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forethought.foresight.block import parse
from forethought.foresight.calibration import brier, expected_brier, nll, r_calib
from forethought.foresight.levels import LEVELS, expected_level, level_text, nearest_level

PROBABILITY = st.floats(0, 1)
BLOCK = (
    "<imaginary>r</imaginary><keyword>k</keyword><analysis>a</analysis>"
    "<confidence>{}</confidence><think>t</think><search>q</search>"
)


def test_there_are_21_levels_in_steps_of_five_percent():
    assert list(LEVELS) == [i / 20 for i in range(21)]


@pytest.mark.parametrize("spaced", [False, True])
def test_every_level_is_written_and_read_back_exactly(spaced):
    for index, level in enumerate(LEVELS):
        parsed = parse(BLOCK.format(level_text(index, spaced)))
        assert parsed.format_ok
        assert parsed.foresight is not None and parsed.foresight.q == level


def test_canonical_text():
    assert level_text(13) == "65%" and level_text(13, spaced=True) == "65 %"
    with pytest.raises(IndexError):
        level_text(21)


@given(PROBABILITY)
def test_nearest_level_is_nearest(q):
    index = nearest_level(q)
    assert abs(LEVELS[index] - q) <= min(abs(level - q) for level in LEVELS) + 1e-12


def test_halves_go_up_and_outsiders_to_the_ends():
    assert nearest_level(0.125) == 3 and nearest_level(-1) == 0 and nearest_level(7) == 20
    with pytest.raises(ValueError, match="NaN"):
        nearest_level(math.nan)


def test_expected_level_of_one_level_is_that_level():
    for index, level in enumerate(LEVELS):
        probs = [float(i == index) for i in range(21)]
        assert expected_level(probs) == level
        assert expected_brier(probs, 1.0) == pytest.approx(brier(level, 1.0))
    with pytest.raises(ValueError, match="zip"):
        expected_level([1.0])


@given(PROBABILITY)
def test_the_reward_is_proper_its_best_level_is_the_one_nearest_to_the_success_rate(p):
    def expected(q: float) -> float:
        return p * r_calib(q, 1) + (1 - p) * r_calib(q, 0)

    best = max(LEVELS, key=expected)
    assert abs(best - p) <= 0.025 + 1e-9


@given(PROBABILITY, PROBABILITY)
def test_the_expected_brier_score_is_linear_in_the_probabilities(mix, outcome):
    low = [float(i == 4) for i in range(21)]
    high = [float(i == 15) for i in range(21)]
    both = [mix * a + (1 - mix) * b for a, b in zip(low, high, strict=True)]
    mixed = mix * expected_brier(low, outcome) + (1 - mix) * expected_brier(high, outcome)
    assert expected_brier(both, outcome) == pytest.approx(mixed)


def test_silence_is_the_best_a_failed_episode_can_say():
    assert r_calib(None, 0) == r_calib(0.0, 0) == 0.0
    assert r_calib(None, 1) < r_calib(1.0, 1)


def test_the_log_score_is_bounded():
    assert nll(0.0, 1) == pytest.approx(-math.log(1e-3)) and nll(1.0, 1) < 0.0011
