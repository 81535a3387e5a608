"""Every metric against a naive double loop or a table worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forethought.stats.metrics import auroc, bin_index, brier, brier_skill, ece, mean, nll

LEVEL = st.integers(0, 20).map(lambda n: n / 20)
ROWS = st.lists(st.tuples(LEVEL, st.integers(0, 1), st.floats(0.1, 3)), min_size=2, max_size=30)


def arrays(rows: list[tuple[float, int, float]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    q, y, w = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    return q, y, w[None, :]


@given(ROWS)
def test_auroc_equals_the_double_loop_over_weighted_pairs(
    rows: list[tuple[float, int, float]],
) -> None:
    won = total = 0.0
    for q1, y1, w1 in rows:
        for q0, y0, w0 in rows:
            if y1 == 1 and y0 == 0:
                total += w1 * w0
                won += w1 * w0 * (1.0 if q1 > q0 else 0.5 if q1 == q0 else 0.0)
    value = auroc(*arrays(rows))[0]
    assert math.isnan(value) if total == 0 else value == pytest.approx(won / total)


@given(ROWS)
def test_brier_nll_and_mean_equal_the_naive_sums(rows: list[tuple[float, int, float]]) -> None:
    total = sum(w for _, _, w in rows)
    clamp = [(min(max(q, 0.001), 0.999), y, w) for q, y, w in rows]
    expected = sum(w * (q - y) ** 2 for q, y, w in rows) / total
    loss = -sum(w * math.log(q if y else 1 - q) for q, y, w in clamp) / total
    assert brier(*arrays(rows))[0] == pytest.approx(expected)
    assert nll(*arrays(rows))[0] == pytest.approx(loss)
    q, _, w = arrays(rows)
    assert mean(q, w)[0] == pytest.approx(sum(w * q for q, _, w in rows) / total)


@given(ROWS)
def test_ece_equals_the_naive_sum_over_left_closed_bins(
    rows: list[tuple[float, int, float]],
) -> None:
    total = sum(w for _, _, w in rows)
    bins: dict[int, float] = {}
    for q, y, w in rows:
        index = min(round(q * 20) // 2, 9)
        bins[index] = bins.get(index, 0.0) + w * (y - q)
    assert ece(*arrays(rows))[0] == pytest.approx(sum(abs(g) for g in bins.values()) / total)


def test_bins_are_left_closed_and_the_last_one_is_closed() -> None:
    levels = np.array([n / 20 for n in range(21)])
    expected = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 9]
    assert bin_index(levels).tolist() == expected


def test_the_base_rate_as_forecast_has_no_skill_and_certainty_about_the_truth_has_all() -> None:
    y = np.array([1.0, 0.0, 0.0, 1.0, 0.0])
    one = np.ones((1, 5))
    assert brier_skill(np.full(5, 0.4), y, one)[0] == pytest.approx(0.0)
    assert brier_skill(y, y, one)[0] == pytest.approx(1.0)


def test_metrics_that_have_no_meaning_are_nan() -> None:
    ones = np.ones(3)
    one = np.ones((1, 3))
    assert math.isnan(auroc(ones, ones, one)[0])
    assert math.isnan(brier_skill(ones, ones, one)[0])
    assert math.isnan(mean(ones, np.zeros((1, 3)))[0])
