"""Answering only where the estimate is high: risk against coverage, for many resamplings at once.

Rows are answered from the highest q down; rows of one q are answered in random order, so each
figure is its expectation over that order. Weights as in `forethought.stats.metrics`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from forethought.stats.metrics import Array


def _levels(q_N: Array, y_N: Array, weights_RN: Array) -> tuple[Array, Array]:
    """Weight and lost weight of each distinct q, highest first, [R, U] each."""
    order = np.argsort(-q_N, kind="stable")
    q, y, weights = q_N[order], y_N[order], weights_RN[:, order]
    starts = np.flatnonzero(np.concatenate([[True], q[1:] != q[:-1]]))
    weight = np.add.reduceat(weights, starts, axis=1)
    lost = np.add.reduceat(weights * (1.0 - y), starts, axis=1)
    return weight, lost


def aurc(q_N: Array, y_N: Array, weights_RN: Array) -> Array:
    """Area under the risk-coverage curve, [R]: the mean risk over all coverages, 0 is best.

    The risk at a coverage is the share lost among the rows answered (Geifman and El-Yaniv 2017).
    A q that tells nothing has the base rate of losing.
    """
    if len(q_N) == 0:
        return np.full(len(weights_RN), np.nan)
    weight, lost = _levels(q_N, y_N, weights_RN)
    before = np.cumsum(weight, axis=1) - weight
    lost_before = np.cumsum(lost, axis=1) - lost
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = np.where(weight > 0, lost / weight, 0.0)
        # Inside a level the risk at u more rows is (lost_before + rate u) / (before + u).
        spread = np.where(before > 0, np.log1p(weight / before), 0.0)
        area = rate * weight + (lost_before - rate * before) * spread
        total = weight.sum(axis=1)
        return np.where(total > 0, area.sum(axis=1) / total, np.nan)


def success_at(q_N: Array, y_N: Array, weights_RN: Array, coverage: float) -> Array:
    """Success among the share `coverage` of rows with the highest q, [R]."""
    if len(q_N) == 0:
        return np.full(len(weights_RN), np.nan)
    weight, lost = _levels(q_N, y_N, weights_RN)
    wanted = coverage * weight.sum(axis=1, keepdims=True)
    taken = np.clip(wanted - (np.cumsum(weight, axis=1) - weight), 0.0, weight)
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = np.where(weight > 0, lost / weight, 0.0)
        answered = taken.sum(axis=1)
        return np.where(answered > 0, 1.0 - (taken * rate).sum(axis=1) / answered, np.nan)


def risk_curve(q_N: Array, y_N: Array, points: int = 50) -> list[tuple[float, float]]:
    """(coverage, share lost among the rows answered) at equal steps of coverage up to 1.

    The curve whose mean height is `aurc`; nothing without rows.
    """
    one = np.ones((1, len(q_N)))
    shares = [(step + 1) / points for step in range(points)] if len(q_N) else []
    return [(share, 1.0 - float(success_at(q_N, y_N, one, share)[0])) for share in shares]


SELECTIVE_METRICS: dict[str, Callable[[Array, Array, Array], Array]] = {
    "aurc": aurc,
    "success_at_50": partial(success_at, coverage=0.5),
    "success_at_80": partial(success_at, coverage=0.8),
}
"""Name -> function of (q, y, weights), for the last estimate of an episode."""
