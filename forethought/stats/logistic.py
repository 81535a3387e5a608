"""Logistic regression on a few features: estimates that look at no future, fitted in a moment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forethought.stats.metrics import Array

RIDGE = 1e-2
NEWTON_STEPS = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Logistic:
    """P(y = 1) = sigmoid(weights[0] + weights[1:] . (x - centre) / scale), F features."""

    centre: tuple[float, ...]  # [F]
    scale: tuple[float, ...]  # [F], above 0
    weights: tuple[float, ...]  # [F + 1], the constant first

    def predict(self, x_NF: Array) -> Array:
        """P(y = 1) of each row, [N]."""
        scaled = (x_NF - np.array(self.centre)) / np.array(self.scale)
        slope = np.array(self.weights[1:])
        return np.asarray(1.0 / (1.0 + np.exp(-(self.weights[0] + scaled @ slope))))


def fit_logistic(x_NF: Array, y_N: Array) -> Logistic:
    """Newton's method with a small ridge, so that separable rows have a finite fit too."""
    centre, scale = x_NF.mean(axis=0), x_NF.std(axis=0) + 1e-9
    design = np.column_stack([np.ones(len(x_NF)), (x_NF - centre) / scale])
    weights = np.zeros(design.shape[1])
    for _ in range(NEWTON_STEPS):
        p = 1.0 / (1.0 + np.exp(-design @ weights))
        slope = design.T @ (y_N - p) - RIDGE * weights
        curve = (design * (p * (1.0 - p))[:, None]).T @ design + RIDGE * np.eye(len(weights))
        weights += np.linalg.solve(curve, slope)
    return Logistic(
        centre=tuple(centre.tolist()), scale=tuple(scale.tolist()), weights=tuple(weights.tolist())
    )
