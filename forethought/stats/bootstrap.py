"""Seeded bootstrap over tasks, and over seeds and tasks: intervals and paired differences.

Rollouts of one task and turns of one rollout are dependent, so whole tasks are resampled. A claim
about a method has the training seed as its unit: `mean_over_seeds` joins the draws of each seed,
resampled by task, with the seeds as they are or resampled outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forethought.stats.metrics import Array
from forethought.stats.rows import Column, columns, task_ids
from forethought.types import Episode

LEVEL = 0.95
COMPARED = (
    "success",
    "brier_skill_expected.first",
    "brier_skill_expected.all",
    "auroc_expected.first",
    "keyword_lift",
    "choice_gain",
)
"""Metrics whose difference is shown where two evaluations stand side by side."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """A figure, and what it is with other tasks of the same kind."""

    point: float  # nan where it is undefined
    values_R: Array  # [R] one a resampling
    n: int  # what enters the figure


def interval(draws: Draws) -> Interval:
    """The percentile interval of a figure; nan draws are left out."""
    if draws.n == 0 or not np.isfinite(draws.point):
        return Interval(value=None, lo=None, hi=None, n=draws.n)
    kept = draws.values_R[np.isfinite(draws.values_R)]
    if len(kept) == 0:
        return Interval(value=draws.point, lo=None, hi=None, n=draws.n)
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(kept, [tail, 100 - tail])
    return Interval(value=draws.point, lo=float(low), hi=float(high), n=draws.n)


def difference(draws: Draws) -> dict[str, float] | None:
    """{"diff", "lo", "hi", "p"} of a figure that is a difference; None where it is undefined."""
    found = interval(draws)
    if found.value is None or found.lo is None or found.hi is None:
        return None
    return {"diff": found.value, "lo": found.lo, "hi": found.hi, "p": p_value(draws.values_R)}


def p_value(draws_R: Array) -> float:
    """Two-sided share of draws on the other side of 0, at least 1 / (number of draws)."""
    kept = draws_R[np.isfinite(draws_R)]
    if len(kept) == 0:
        return 1.0
    tail = min(float((kept <= 0).mean()), float((kept >= 0).mean()))
    return float(min(1.0, max(2 * tail, 1.0 / len(kept))))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: p-values that keep the family-wise error, in the given order.

    The smallest of m is multiplied by m, the next by m - 1, and none falls below one before it
    (Holm 1979).
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, p_values[place] * (len(p_values) - rank)))
        corrected[place] = highest
    return corrected


def metric_draws(
    episodes: Sequence[Episode],
    metrics: Sequence[str] | None = None,
    *,
    seed: int,
    resamples: int = 2000,
) -> dict[str, Draws]:
    """Metrics of a file of episodes; None: all of them."""
    tasks = task_ids(episodes)
    return _draws([columns(episodes, tasks)], len(tasks), metrics, seed, resamples)


def paired_draws(
    a: Sequence[Episode],
    b: Sequence[Episode],
    metrics: Sequence[str],
    *,
    seed: int,
    resamples: int = 2000,
) -> dict[str, Draws]:
    """Metrics of `a` minus those of `b` on the tasks that both have; unknown names left out."""
    return contrast_draws([(1.0, a), (-1.0, b)], metrics, seed=seed, resamples=resamples)


def contrast_draws(
    sides: Sequence[tuple[float, Sequence[Episode]]],
    metrics: Sequence[str],
    *,
    seed: int,
    resamples: int = 2000,
) -> dict[str, Draws]:
    """A weighed sum of each metric over several files of episodes, on the tasks that all have.

    Args:
        sides: (weight, episodes); effects and interactions are such sums.
        metrics: names; those that a side does not know are left out.
        seed: of the resampling of tasks, which is the same on all sides.
        resamples: how many.
    """
    first, *others = ([*dict.fromkeys(task_ids(episodes))] for _, episodes in sides)
    common = set(first).intersection(*map(set, others))
    tasks = [task for task in first if task in common]
    tables = [columns(episodes, tasks) for _, episodes in sides]
    known = [name for name in metrics if all(name in table for table in tables)]
    return _draws(tables, len(tasks), known, seed, resamples, [weight for weight, _ in sides])


def table_draws(
    table: dict[str, Column], num_tasks: int, *, seed: int, resamples: int
) -> dict[str, Draws]:
    """Every column of a table of one's own under the same resampled tasks."""
    return _draws([table], num_tasks, None, seed, resamples)


def _draws(
    sides: Sequence[dict[str, Column]],
    num_tasks: int,
    metrics: Sequence[str] | None,
    seed: int,
    resamples: int,
    weights: Sequence[float] = (1.0,),
) -> dict[str, Draws]:
    """Draws of the weighed sum of the sides on the same resampled tasks."""
    one, counts_RT = np.ones((1, num_tasks)), task_counts(num_tasks, resamples, seed)

    def value(name: str, counts: Array) -> Array:
        values = [w * side[name].value(counts) for w, side in zip(weights, sides, strict=True)]
        return np.asarray(sum(values[1:], start=values[0]))

    return {
        name: Draws(
            point=float(value(name, one)[0]), values_R=value(name, counts_RT), n=sides[0][name].n
        )
        for name in (sides[0] if metrics is None else metrics)
        if name in sides[0]
    }


def mean_over_seeds(draws: Sequence[Draws], seed: int | None = None) -> Draws:
    """The mean of a figure over training seeds, at least one; tasks resampled inside each.

    Args:
        draws: of each training seed, equally many.
        seed: of a resampling of the training seeds too, which makes the figure one about the
            method; None: they stay as they are, and it is about these models.
    """
    table = np.stack([one.values_R for one in draws], axis=1)  # [R, seeds]
    if seed is not None:
        chosen = np.random.default_rng(seed).integers(table.shape[1], size=table.shape)
        table = np.take_along_axis(table, chosen, axis=1)
    return Draws(
        point=float(np.mean([one.point for one in draws])),
        values_R=np.asarray(table.mean(axis=1)),
        n=sum(one.n for one in draws),
    )
