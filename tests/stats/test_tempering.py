"""Laws of temperature scaling: no ranking moves, a known temperature is found, the fit is best."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forethought.stats.metrics import auroc, nll
from forethought.stats.selective import aurc
from forethought.stats.tempering import MAX_T, MIN_T, fit_temperature, logit, sigmoid, tempered

ROWS = st.lists(
    st.tuples(st.integers(0, 20).map(lambda n: n / 20), st.booleans()), min_size=2, max_size=30
)


def ones(n: int) -> np.ndarray:
    return np.ones((1, n))


def forecaster(sharpness: float, num: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes of sigmoid(z), and estimates that are `sharpness` times too sure of them."""
    rng = np.random.default_rng(seed)
    z = rng.normal(0.0, 1.5, size=num)
    return sigmoid(sharpness * z), (rng.random(num) < sigmoid(z)).astype(np.float64)


@given(ROWS, st.floats(MIN_T, MAX_T))
def test_no_temperature_changes_auroc_or_the_risk_coverage_area(
    rows: list[tuple[float, bool]], temperature: float
) -> None:
    q, y = np.array([r[0] for r in rows]), np.array([float(r[1]) for r in rows])
    scaled = tempered(q, temperature)
    for metric in (auroc, aurc):
        before, after = metric(q, y, ones(len(q)))[0], metric(scaled, y, ones(len(q)))[0]
        assert (np.isnan(before) and np.isnan(after)) or before == pytest.approx(after)


def test_a_temperature_on_the_21_levels_would_change_the_ranking() -> None:
    """Why the scalar acts on logit(q): there two estimates change places."""
    levels = np.arange(21) / 20
    wide, narrow = np.zeros(21), np.zeros(21)
    wide[0], wide[20] = 0.4, 0.6
    narrow[11], narrow[12] = 0.3, 0.7

    def expected(p: np.ndarray, temperature: float) -> float:
        soft = p ** (1 / temperature)
        return float(soft @ levels / soft.sum())

    assert expected(wide, 1.0) > expected(narrow, 1.0)
    assert expected(wide, 5.0) < expected(narrow, 5.0)


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 2.0, 4.0])
def test_the_temperature_of_a_forecaster_that_is_too_sure_is_found(sharpness: float) -> None:
    """1/T is the slope of a logistic regression through the origin; its error is known."""
    q, y = forecaster(sharpness, 20_000, seed=1)
    found = fit_temperature(q, y)
    z = logit(q)
    p = sigmoid(z / sharpness)
    error_of_slope = 1.0 / np.sqrt((z**2 * p * (1 - p)).sum())
    assert abs(1.0 / found - 1.0 / sharpness) < 4 * error_of_slope
    # Multiplied instead of divided, the sure forecaster would get surer still.
    if sharpness != 1.0:
        assert abs(found - 1.0 / sharpness) > 0.2


def test_a_calibrated_forecaster_stays_as_it_is() -> None:
    q, y = forecaster(1.0, 20_000, seed=2)
    assert np.abs(tempered(q, fit_temperature(q, y)) - q).max() < 0.02


@given(ROWS)
def test_no_other_temperature_has_less_loss_on_the_rows_of_the_fit(
    rows: list[tuple[float, bool]],
) -> None:
    # The loss clamps q, so levels whose tempered value it would clamp are left out.
    kept = [(q, y) for q, y in rows if 0.2 <= q <= 0.8]
    if not kept:
        return
    q, y = np.array([r[0] for r in kept]), np.array([float(r[1]) for r in kept])
    best = nll(tempered(q, fit_temperature(q, y)), y, ones(len(q)))[0]
    for other in (MIN_T, 0.5, 1.0, 2.0, 7.0, MAX_T):
        assert best <= nll(tempered(q, other), y, ones(len(q)))[0] + 1e-6


def test_an_estimate_of_the_opposite_is_flattened_and_never_turned_round() -> None:
    q, y = forecaster(1.0, 2_000, seed=3)
    assert fit_temperature(1.0 - q, y) == pytest.approx(MAX_T)
    assert tempered(np.array([0.2, 0.8]), MAX_T)[0] < 0.5


def test_certainty_has_a_logit() -> None:
    assert np.isfinite(logit(np.array([0.0, 1.0]))).all()
    assert np.isfinite(tempered(np.array([0.0, 0.5, 1.0]), MIN_T)).all()
    assert tempered(np.array([0.5]), 3.0)[0] == pytest.approx(0.5)
