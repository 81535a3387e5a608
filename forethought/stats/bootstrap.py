"""Seeded bootstrap over tasks, and over seeds and tasks: intervals and paired differences.

Rollouts of one task and turns of one rollout are dependent, so whole tasks are resampled. A claim
about a method has the training seed as its unit: `hierarchical_difference` resamples seeds outside
and tasks inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forethought.stats.metrics import Array
from forethought.stats.rows import columns, task_ids
from forethought.types import Episode

LEVEL = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A value with its 95 % percentile interval; None where it is undefined."""

    value: float | None
    lo: float | None
    hi: float | None
    n: int


def task_counts(num_tasks: int, resamples: int, seed: int) -> Array:
    """How often each task is drawn in each resampling, [resamples, num_tasks]."""
    if num_tasks == 0:
        return np.zeros((resamples, 0))
    rng = np.random.default_rng(seed)
    share = np.full(num_tasks, 1.0 / num_tasks)
    return rng.multinomial(num_tasks, share, size=resamples).astype(np.float64)


def interval(point: float, draws_R: Array, n: int) -> Interval:
    """The percentile interval of the draws around a point estimate; nan draws are left out."""
    if n == 0 or not np.isfinite(point):
        return Interval(value=None, lo=None, hi=None, n=n)
    kept = draws_R[np.isfinite(draws_R)]
    if len(kept) == 0:
        return Interval(value=float(point), lo=None, hi=None, n=n)
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(kept, [tail, 100 - tail])
    return Interval(value=float(point), lo=float(low), hi=float(high), n=n)


def p_value(draws_R: Array) -> float:
    """Two-sided share of draws on the other side of 0, at least 1 / (number of draws)."""
    kept = draws_R[np.isfinite(draws_R)]
    if len(kept) == 0:
        return 1.0
    tail = min(float((kept <= 0).mean()), float((kept >= 0).mean()))
    return float(min(1.0, max(2 * tail, 1.0 / len(kept))))


def paired_difference(
    a: Sequence[Episode],
    b: Sequence[Episode],
    metric: str,
    *,
    seed: int,
    resamples: int = 2000,
) -> dict[str, float] | None:
    """Metric of `a` minus metric of `b` on the tasks that both have.

    Returns:
        {"diff", "lo", "hi", "p"}; None where the metric is undefined on one side.
    """
    others = set(task_ids(b))
    tasks = [task for task in task_ids(a) if task in others]
    left, right = columns(a, tasks).get(metric), columns(b, tasks).get(metric)
    if left is None or right is None or not tasks:
        return None
    one = np.ones((1, len(tasks)))
    point = float(left.value(one)[0] - right.value(one)[0])
    if not np.isfinite(point):
        return None
    counts = task_counts(len(tasks), resamples, seed)
    draws = left.value(counts) - right.value(counts)
    found = interval(point, draws, len(tasks))
    if found.lo is None or found.hi is None:
        return None
    return {"diff": point, "lo": found.lo, "hi": found.hi, "p": p_value(draws)}


def hierarchical_difference(
    pairs: Sequence[tuple[Sequence[Episode], Sequence[Episode]]],
    metric: str,
    *,
    seed: int,
    resamples: int = 2000,
    over_seeds: bool = True,
) -> dict[str, float] | None:
    """Mean over seeds of the metric of a minus that of b; seeds resampled outside, tasks inside.

    Args:
        pairs: (episodes of a, episodes of b) of each training seed.
        metric: a name of the summary.
        seed: of the resampling.
        resamples: number of draws.
        over_seeds: False: the seeds stay as they are and only their tasks are resampled, which is
            about these models and not about the method.
    """
    points: list[float] = []
    draws: list[Array] = []
    for number, (a, b) in enumerate(pairs):
        others = set(task_ids(b))
        tasks = [task for task in task_ids(a) if task in others]
        left, right = columns(a, tasks).get(metric), columns(b, tasks).get(metric)
        if left is None or right is None or not tasks:
            return None
        one = np.ones((1, len(tasks)))
        points.append(float(left.value(one)[0] - right.value(one)[0]))
        counts = task_counts(len(tasks), resamples, seed + 1009 * (number + 1))
        draws.append(left.value(counts) - right.value(counts))
    if not points or not np.all(np.isfinite(points)):
        return None
    mixed = _mean_over_seeds(draws, seed, over_seeds)
    found = interval(float(np.mean(points)), mixed, len(points))
    if found.lo is None or found.hi is None:
        return None
    return {"diff": float(np.mean(points)), "lo": found.lo, "hi": found.hi, "p": p_value(mixed)}


def pooled_metric(
    runs: Sequence[Sequence[Episode]], metric: str, *, seed: int, resamples: int = 2000
) -> Interval:
    """Mean of a metric over seeds; tasks resampled inside each seed.

    Args:
        runs: episodes of each training seed.
        metric: a name of the summary.
        seed: of the resampling.
        resamples: number of draws.
    """
    points: list[float] = []
    draws: list[Array] = []
    total = 0
    for number, episodes in enumerate(runs):
        tasks = task_ids(episodes)
        column = columns(episodes, tasks).get(metric)
        if column is None or not tasks:
            return Interval(value=None, lo=None, hi=None, n=total)
        points.append(float(column.value(np.ones((1, len(tasks))))[0]))
        counts = task_counts(len(tasks), resamples, seed + 1009 * (number + 1))
        draws.append(column.value(counts))
        total += column.n
    if not points:
        return Interval(value=None, lo=None, hi=None, n=0)
    return interval(float(np.mean(points)), _mean_over_seeds(draws, seed, False), total)


def _mean_over_seeds(draws: Sequence[Array], seed: int, over_seeds: bool) -> Array:
    """[resamples] means over seeds of the draws of each seed, the seeds drawn too or as given."""
    table = np.stack(draws, axis=1)  # [resamples, seeds]
    if not over_seeds:
        return np.asarray(table.mean(axis=1))
    resamples, seeds = table.shape
    chosen = np.random.default_rng(seed).integers(seeds, size=(resamples, seeds))
    return np.asarray(table[np.arange(resamples)[:, None], chosen].mean(axis=1))
