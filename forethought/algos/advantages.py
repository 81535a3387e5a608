"""Group statistics: how a number compares with the same number of the other group members.

A group is a list over members; None means "this member has no such number" (no such turn, an
unreadable q) and stays None. All means are taken relative to the first value, so that a group of
equal numbers gives differences of exactly 0. Used by `forethought.algos.credit`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Values = Sequence[float | None]
Normaliser = Callable[[Values], list[float | None]]

MIN_STD = 1e-12
"""Below this population standard deviation a group counts as equal: no epsilon in the division."""


def mean(values: Sequence[float]) -> float:
    """The mean of at least one number; exact when all numbers are equal."""
    first = values[0]
    return first + math.fsum(value - first for value in values) / len(values)


def others_mean(values: Values) -> list[float | None]:
    """For each member the mean over the *other* members that have a number; None without any.

    A member without a number of its own still gets the mean of the others. This is the baseline
    `m_i` of the `causal` profile: it does not depend on what the member itself did, so it cannot
    bias a policy gradient whatever decides which members have a number.
    """
    result: list[float | None] = []
    for own in range(len(values)):
        others = [v for j, v in enumerate(values) if j != own and v is not None]
        result.append(mean(others) if others else None)
    return result


def leave_one_out(values: Values) -> list[float | None]:
    """`x_i - mean of the others' x_j`; 0 for a single survivor, None where `x_i` is None."""
    return [
        None if value is None else (0.0 if other is None else value - other)
        for value, other in zip(values, others_mean(values), strict=True)
    ]


def centre(values: Values) -> list[float | None]:
    """`x_i - group mean`, the member itself included; 0 for a single survivor.

    Shrinks every advantage by `(n - 1) / n` against `leave_one_out`, so turns that few members
    reach learn more slowly.
    """
    present = [value for value in values if value is not None]
    middle = mean(present) if present else 0.0
    return [None if value is None else value - middle for value in values]


def group_zscore(values: Values) -> list[float | None]:
    """`(x_i - mean) / population standard deviation`, no epsilon; all 0 where that is < 1e-12.

    The normalisation of GRPO (arXiv 2402.03300) and our reading of the paper's "normalizing"
    (arXiv 2606.27483, 2.3 and 3.4). Dividing by a deviation that depends on the member's own
    outcome biases the gradient and makes a proper score improper (docs/method.md).
    """
    present = [value for value in values if value is not None]
    if not present:
        return list(values)
    middle = mean(present)
    std = math.sqrt(math.fsum((value - middle) ** 2 for value in present) / len(present))
    if std < MIN_STD:
        return [None if value is None else 0.0 for value in values]
    return [None if value is None else (value - middle) / std for value in values]


NORMALISERS: dict[str, Normaliser] = {
    "zscore": group_zscore,
    "centre": centre,
    "leave_one_out": leave_one_out,
}
"""Group normalisers by the name that `CreditConfig.normaliser` takes."""
