"""What a success estimate `q` is worth once the outcome `I` is known.

Formulas of one estimate; statistics over many are in `forethought.stats`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from forethought.foresight.levels import LEVELS

CLAMP = 1e-3
"""The log score takes q clamped to [CLAMP, 1 - CLAMP]; unbounded, one miss would outweigh all."""


def brier(q: float, outcome: float) -> float:
    """Squared error (q - I)^2 of a probability (Brier 1950); 0 is best, 1 is worst."""
    return (q - outcome) ** 2


def r_calib(q: float | None, outcome: float) -> float:
    """Calibration reward I - (q - I)^2 of arXiv 2606.27483, section 3.4; in [-1, 1].

    An unreadable estimate (None) gets 0. That is the best a *failed* episode can get, so silence
    is never punished after a failure: a gap of the published form, kept in the profile that
    reproduces it.
    """
    return 0.0 if q is None else outcome - brier(q, outcome)


def expected_brier(probs: Sequence[float], outcome: float) -> float:
    """Brier score of the 21 level probabilities: sum over v of pi(v) (v - I)^2.

    Linear in `probs`, so all mass belongs on the level nearest to P(success | context): the score
    is proper and has no sampling noise (our own derivation).

    Args:
        probs: [21] probabilities of the levels; they sum to 1.
        outcome: I in [0, 1].
    """
    return math.fsum(p * brier(v, outcome) for p, v in zip(probs, LEVELS, strict=True))


def nll(q: float, outcome: float) -> float:
    """Negative log likelihood of the outcome in nats, q clamped by `CLAMP`."""
    p = min(max(q, CLAMP), 1.0 - CLAMP)
    return -(outcome * math.log(p) + (1.0 - outcome) * math.log(1.0 - p))
