"""The fitted baseline V of the `causal` profile: what q and the group say about the return.

    V_{i,t} = alpha_k + beta_k q_{i,t} + gamma_k m_i        k = bucket of the turn: 1, 2, 3+

fitted on the rollouts of the PREVIOUS update, so that it knows nothing about the rollouts whose
advantages it enters: any values of alpha, beta and gamma leave the policy gradient unbiased, a
good fit lowers its variance. `beta`, the slope of the return on the stated q beside m, is logged:
what q knows that the other members' mean does not. Our own derivation (docs/method.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from forethought.algos.advantages import others_mean
from forethought.types import Episode

NUM_BUCKETS = 3
"""Turn 1, turn 2, and all later turns together."""

Point = tuple[float, float, float]
"""One turn with a readable q: (q, m, R)."""


def bucket(step: int) -> int:
    """The bucket of turn index `step` (from 0)."""
    return min(step, NUM_BUCKETS - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueFit:
    """Coefficients of V, one triple a bucket."""

    alpha: tuple[float, ...]  # [3] intercept
    beta: tuple[float, ...]  # [3] slope on q
    gamma: tuple[float, ...]  # [3] slope on the mean reward of the other members
    counts: tuple[int, ...]  # [3] turns that the fit saw

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> ValueFit:
        """The fit that `dataclasses.asdict` wrote, after a trip through JSON.

        Raises:
            ValueError: it is another row.
        """
        parts: list[Any] = [row.get(name) for name in ("alpha", "beta", "gamma", "counts")]
        for part in parts:
            numbers = isinstance(part, list) and len(part) == NUM_BUCKETS
            if not numbers or not all(isinstance(x, int | float) for x in part):
                raise ValueError(f"{part!r:.40} instead of {NUM_BUCKETS} numbers")
        alpha, beta, gamma, counts = parts
        return cls(
            alpha=tuple(map(float, alpha)),
            beta=tuple(map(float, beta)),
            gamma=tuple(map(float, gamma)),
            counts=tuple(map(int, counts)),
        )

    def value(self, step: int, q: float, m: float) -> float:
        """V of turn index `step` for a stated `q` and the others' mean reward `m`."""
        k = bucket(step)
        return self.alpha[k] + self.beta[k] * q + self.gamma[k] * m


def fit_values(episodes: Sequence[Episode], ridge: float = 1.0) -> ValueFit:
    """Ridge regression of the reward on (1, q, m) over the turns of `episodes`, a bucket at a time.

    The penalty pulls towards (0, 0, 1), which is V = m, the baseline of the first update: a bucket
    without data keeps it. Turns without a readable q, rollouts with an error and groups of one
    valid member are left out.

    Args:
        episodes: the rollouts of one update; groups are the episodes with one task_id.
        ridge: weight of the penalty, in observations.
    """
    points: list[list[Point]] = [[] for _ in range(NUM_BUCKETS)]
    for members in groups_of(episodes):
        baselines = others_mean([episodes[i].reward for i in members])
        for index, m in zip(members, baselines, strict=True):
            if m is None:
                continue
            for step, turn in enumerate(episodes[index].turns):
                if turn.foresight is not None and turn.foresight.q is not None:
                    points[bucket(step)].append((turn.foresight.q, m, episodes[index].reward))
    triples = [_ridge(rows, ridge) for rows in points]
    return ValueFit(
        alpha=tuple(triple[0] for triple in triples),
        beta=tuple(triple[1] for triple in triples),
        gamma=tuple(triple[2] for triple in triples),
        counts=tuple(len(rows) for rows in points),
    )


def groups_of(episodes: Sequence[Episode]) -> list[list[int]]:
    """Indices of the valid members of each group, groups in order of first appearance.

    A rollout that the machine ended (`error`) is in no group.
    """
    groups: dict[str, list[int]] = {}
    for index, episode in enumerate(episodes):
        members = groups.setdefault(episode.task_id, [])
        if is_valid(episode):
            members.append(index)
    return list(groups.values())


def is_valid(episode: Episode) -> bool:
    """True unless the machine, not the policy, ended the rollout."""
    return episode.error is None and episode.success is not None


def _ridge(points: Sequence[Point], ridge: float) -> list[float]:
    """Minimises sum (R - w.x)^2 + ridge |w - (0, 0, 1)|^2 over w, with x = (1, q, m)."""
    rows = [((1.0, q, m), reward - m) for q, m, reward in points]  # residuals against the prior
    matrix = [
        [math.fsum(x[a] * x[b] for x, _ in rows) + (ridge if a == b else 0.0) for b in range(3)]
        for a in range(3)
    ]
    right = [math.fsum(x[a] * residual for x, residual in rows) for a in range(3)]
    shift = _solve(matrix, right)
    return [shift[0], shift[1], 1.0 + shift[2]]


def _solve(matrix: list[list[float]], right: list[float]) -> list[float]:
    """Gauss-Jordan elimination with pivoting; the matrix is positive definite."""
    size = len(right)
    rows = [[*line, value] for line, value in zip(matrix, right, strict=True)]
    for column in range(size):
        pivot = max(range(column, size), key=lambda r: abs(rows[r][column]))
        rows[column], rows[pivot] = rows[pivot], rows[column]
        scale = rows[column][column]
        rows[column] = [value / scale for value in rows[column]]
        for other in range(size):
            if other != column:
                factor = rows[other][column]
                rows[other] = [
                    value - factor * own
                    for value, own in zip(rows[other], rows[column], strict=True)
                ]
    return [line[size] for line in rows]
