"""The logistic regression behind estimates that look at no future."""

from __future__ import annotations

import numpy as np

from forethought.stats.logistic import fit_logistic


def test_it_finds_the_probabilities_that_made_the_outcomes() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(3.0, 2.0, size=(20_000, 2))
    p = 1.0 / (1.0 + np.exp(-(0.5 + 0.8 * (x[:, 0] - 3.0) - 0.3 * (x[:, 1] - 3.0))))
    y = (rng.random(len(p)) < p).astype(np.float64)
    found = fit_logistic(x, y)
    assert np.abs(found.predict(x) - p).max() < 0.03


def test_it_is_calibrated_on_what_it_was_fitted_on() -> None:
    rng = np.random.default_rng(1)
    x = rng.random((500, 3))
    y = (rng.random(500) < 0.3).astype(np.float64)
    assert abs(fit_logistic(x, y).predict(x).mean() - y.mean()) < 1e-3


def test_rows_that_can_be_separated_and_features_that_never_vary_have_a_finite_fit() -> None:
    x = np.column_stack([np.arange(10.0), np.full(10, 7.0)])
    y = (x[:, 0] > 4.5).astype(np.float64)
    q = fit_logistic(x, y).predict(x)
    assert np.isfinite(q).all() and q[0] < 0.2 and q[-1] > 0.8
