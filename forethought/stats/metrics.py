"""Weighted statistics of forecasts, for many resamplings at once.

A forecast is a row (q, y): a success estimate in [0, 1] and the outcome. Every function takes the
weights of the rows under `R` resamplings as a matrix `weights_RN` and returns `R` values, so that a
bootstrap is one call; a weight is (count of the row's task) x (the row's own weight). Undefined
values are nan. Definitions as in docs/metrics.md.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

NUM_BINS = 10
NLL_CLAMP = 1e-3


def mean(values_N: Array, weights_RN: Array) -> Array:
    """Weighted mean, [R]."""
    total = weights_RN.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, weights_RN @ values_N / total, np.nan)


def ratio(top_N: Array, bottom_N: Array, weights_RN: Array) -> Array:
    """Weighted sum of the first over that of the second, [R]; nan where the second is 0."""
    bottom = weights_RN @ bottom_N
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(np.abs(bottom) > 1e-12, weights_RN @ top_N / bottom, np.nan)


def brier(q_N: Array, y_N: Array, weights_RN: Array) -> Array:
    """Mean of (q - y)^2, [R] (Brier 1950)."""
    return mean((q_N - y_N) ** 2, weights_RN)


def brier_skill(q_N: Array, y_N: Array, weights_RN: Array) -> Array:
    """1 - Brier / Brier of the base rate of the same rows, [R]; nan where all outcomes agree."""
    rate = mean(y_N, weights_RN)
    reference = rate * (1.0 - rate)
    with np.errstate(invalid="ignore", divide="ignore"):
        skill = 1.0 - brier(q_N, y_N, weights_RN) / reference
    return np.where(reference > 1e-12, skill, np.nan)


def nll(q_N: Array, y_N: Array, weights_RN: Array) -> Array:
    """Mean negative log-likelihood in nats, q clamped to [.001, .999], [R]."""
    q = np.clip(q_N, NLL_CLAMP, 1.0 - NLL_CLAMP)
    return mean(-(y_N * np.log(q) + (1.0 - y_N) * np.log(1.0 - q)), weights_RN)


def bin_index(q_N: Array) -> NDArray[np.int64]:
    """Index of the equal-width bin of each q: left-closed, the last one closed, [N]."""
    # Level .3 must open the bin [.3, .4) although 10 * .3 falls below 3 in floating point.
    return np.clip(np.floor(q_N * NUM_BINS + 1e-9), 0, NUM_BINS - 1).astype(np.int64)


def ece(q_N: Array, y_N: Array, weights_RN: Array) -> Array:
    """Expected calibration error over 10 equal-width bins, [R]: sum of |sum w (y - q)| / sum w."""
    member = np.zeros((len(q_N), NUM_BINS))
    member[np.arange(len(q_N)), bin_index(q_N)] = 1.0
    gaps = weights_RN @ (member * (y_N - q_N)[:, None])
    total = weights_RN.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, np.abs(gaps).sum(axis=1) / total, np.nan)


def auroc(q_N: Array, y_N: Array, weights_RN: Array) -> Array:
    """P(a success is rated above a failure), ties half, pairs weigh w_i w_j, [R]."""
    if len(q_N) == 0:
        return np.full(len(weights_RN), np.nan)
    order = np.argsort(q_N, kind="stable")
    q, y, weights = q_N[order], y_N[order], weights_RN[:, order]
    starts = np.flatnonzero(np.concatenate([[True], q[1:] != q[:-1]]))
    positive = np.add.reduceat(weights * y, starts, axis=1)
    negative = np.add.reduceat(weights * (1.0 - y), starts, axis=1)
    below = np.cumsum(negative, axis=1) - negative
    wins = (positive * (below + 0.5 * negative)).sum(axis=1)
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(pairs > 1e-12, wins / pairs, np.nan)


FORECAST_METRICS = {
    "brier": brier,
    "brier_skill": brier_skill,
    "ece": ece,
    "auroc": auroc,
    "nll": nll,
}
"""Name -> function of (q, y, weights)."""
