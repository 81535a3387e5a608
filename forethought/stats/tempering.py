"""One temperature for all estimates of a policy: the calibration that cannot change a ranking.

q becomes sigmoid(logit(q) / T), temperature scaling (Guo et al. 2017, arXiv 1706.04599) of a
forecaster with two outcomes. The scalar acts on logit(q) and not on the logits of the 21 levels:
there the expected level is no monotone function of the old one, so a mere recalibration could
change AUROC; and a q without levels (that of another method) could not be scaled.
"""

from __future__ import annotations

import numpy as np

from forethought.stats.metrics import Array

MIN_T, MAX_T = 0.2, 20.0
"""Bounds of the temperature; a q that tells nothing, or the opposite, is fitted by the highest."""
CLAMP = 1e-6  # a q of 0 or 1 has no logit
HALVINGS = 60


def logit(q_N: Array) -> Array:
    """log(q / (1 - q)), [N], q clamped to [1e-6, 1 - 1e-6]."""
    q = np.clip(q_N, CLAMP, 1.0 - CLAMP)
    return np.asarray(np.log(q) - np.log1p(-q))


def sigmoid(z_N: Array) -> Array:
    """1 / (1 + exp(-z)), [N], without overflow."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -z_N)))


def tempered(q_N: Array, temperature: float) -> Array:
    """sigmoid(logit(q) / T), [N]: above 1 towards one half, below 1 away from it."""
    return sigmoid(logit(q_N) / temperature)


def fit_temperature(q_N: Array, y_N: Array) -> float:
    """The temperature with the least negative log-likelihood, between `MIN_T` and `MAX_T`.

    With b = 1 / T the loss sum(log(1 + exp(b z)) - y b z) is convex in b, so its slope
    sum(z (sigmoid(b z) - y)) rises and is halved upon.

    Args:
        q_N: estimates of episodes that are not scored afterwards.
        y_N: their outcomes.
    """
    z = logit(q_N)
    low, high = 1.0 / MAX_T, 1.0 / MIN_T
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        rises = float(z @ (sigmoid(middle * z) - y_N)) > 0.0
        low, high = (low, middle) if rises else (middle, high)
    return 2.0 / (low + high)
