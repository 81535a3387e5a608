"""The 21 levels of a success estimate: 0 %, 5 %, ..., 100 %."""

from __future__ import annotations

import math
from collections.abc import Sequence

LEVELS: tuple[float, ...] = tuple(i / 20 for i in range(21))
"""The estimates that a policy is taught to write, as probabilities."""


def nearest_level(q: float) -> int:
    """Index of the level nearest to `q`; halves go up, values outside [0, 1] to the ends.

    Raises:
        ValueError: `q` is not a number.
    """
    if math.isnan(q):
        raise ValueError("q is NaN; expected a number")
    return math.floor(min(max(q, 0.0), 1.0) * 20 + 0.5)


def level_text(index: int, spaced: bool = False) -> str:
    """What stands in the confidence element: "65%", or "65 %" where every token is spaced.

    Raises:
        IndexError: there is no such level.
    """
    if not 0 <= index < len(LEVELS):
        raise IndexError(f"level {index}; expected 0..{len(LEVELS) - 1}")
    return f"{5 * index} %" if spaced else f"{5 * index}%"


def expected_level(probs: Sequence[float]) -> float:
    """The expected estimate: sum over the levels of pi(v) v.

    Args:
        probs: [21] probabilities of the levels; they sum to 1.

    Raises:
        ValueError: not 21 numbers.
    """
    return math.fsum(p * v for p, v in zip(probs, LEVELS, strict=True))
