"""What stands beside a metric: the noise floor of a perfect forecaster, and trivial estimates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from forethought.stats.logistic import fit_logistic
from forethought.stats.metrics import Array, auroc, brier_skill, ece
from forethought.types import Episode

FOLDS = 5


def ece_floor(q_N: Array, *, seed: int, draws: int = 500) -> float | None:
    """Mean ECE of a forecaster whose q is exactly right, at these q; None without rows."""
    if len(q_N) == 0:
        return None
    rng = np.random.default_rng(seed)
    one = np.ones((1, len(q_N)))
    values = [
        ece(q_N, (rng.random(len(q_N)) < q_N).astype(np.float64), one)[0] for _ in range(draws)
    ]
    return float(np.mean(values))


def trivial_features(episode: Episode) -> list[float]:
    """What the question shows without look-ahead: its length and the numbers in it."""
    words = episode.question.split()
    numbers = [float(word) for word in words if word.replace(".", "", 1).isdigit()]
    return [float(len(words)), numbers[-1] if numbers else 0.0, float(len(numbers))]


def trivial_estimate(episodes: Sequence[Episode], *, seed: int) -> dict[str, float | None]:
    """AUROC and Brier skill of a cross-validated logistic regression on `trivial_features`.

    A q that does not beat this has not looked ahead.
    """
    valid = [episode for episode in episodes if episode.error is None]
    y = np.array([float(episode.success or 0) for episode in valid])
    if len(valid) < 2 * FOLDS or len(set(y.tolist())) < 2:
        return {"auroc": None, "brier_skill": None}
    x = np.array([trivial_features(episode) for episode in valid])
    fold = np.random.default_rng(seed).permutation(len(valid)) % FOLDS
    q = np.zeros(len(valid))
    for number in range(FOLDS):
        out = fold == number
        q[out] = fit_logistic(x[~out], y[~out]).predict(x[out])
    one = np.ones((1, len(valid)))
    return {
        "auroc": float(auroc(q, y, one)[0]),
        "brier_skill": float(brier_skill(q, y, one)[0]),
    }
