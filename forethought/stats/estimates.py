"""Estimates of success on the same episodes, side by side: one row of figures each.

What another method would say of an episode stands beside what the policy stated. An estimate is a
value an episode, at its first or its last turn; fits were made on other episodes. Figures and
intervals are those of docs/metrics.md, whole tasks resampled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from forethought.stats.bootstrap import Draws, difference, interval, table_draws
from forethought.stats.metrics import auroc, brier, brier_skill, ece
from forethought.stats.rows import Column, vote_of
from forethought.stats.selective import aurc
from forethought.types import Episode, JsonRow

ESTIMATES = {
    "q": "the number that the policy wrote",
    "q-expected": "the expected level under its probabilities of the 21 levels",
    "q-tempered": "the same with its logit divided by one temperature, fitted on other tasks",
    "sequence": "mean log-probability of what the turn sampled outside its block; ranks only",
    "sequence-fitted": "the same as a probability, by a logistic curve fitted on other tasks",
    "p-true": "asked whether the attempt succeeds: P(True) against False; instruct models only",
    "self-consistency": "share of the task's rollouts that gave this answer; needs --samples",
    "base-rate": "the success rate of other tasks, for every episode",
    "step": "logistic curve on the number of the turn, fitted on other tasks",
    "logistic": "logistic regression on step, overlap with the question, and lengths",
}
"""Estimate -> what it is. All but the first two are what q must beat."""
CUTS = ("first", "last")
RANKING = {"auroc": auroc, "aurc": aurc}
SCORES = {"brier_skill": brier_skill, "brier": brier, "ece": ece, **RANKING}
AGAINST, COMPARED = "q-expected", ("brier_skill", "auroc", "aurc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimated:
    """What one estimate says of each of N episodes at a cut, `first` or `last`."""

    name: str  # of `ESTIMATES`
    cut: str
    values: tuple[float | None, ...]  # [N]; None = it says nothing of this episode
    fit: JsonRow | None = None  # parameters that were fitted on other tasks
    reason: str = ""  # why it says nothing of any episode

    @property
    def metrics(self) -> tuple[str, ...]:
        """Figures that are defined: one that only ranks has no distance to an outcome."""
        return tuple(RANKING if self.name == "sequence" else SCORES)


def agreement(episodes: Sequence[Episode]) -> list[float | None]:
    """Of each episode the share of its task's rollouts that gave its answer, itself included.

    Self-consistency (Wang et al. 2022, arXiv 2203.11171) as an estimate. With K independent
    rollouts and answers of probability p_a its mean is 1/K + (K - 1)/K sum p_a^2. An episode
    without an answer agrees with none: 0. None where the task has one rollout. Rollouts that the
    machine ended do not count.
    """
    sizes = Counter(e.task_id for e in episodes if e.error is None)
    votes = Counter(
        (e.task_id, vote_of(e.answer)) for e in episodes if e.error is None and e.answer is not None
    )
    return [
        None
        if e.error is not None or sizes[e.task_id] < 2
        else 0.0
        if e.answer is None
        else votes[e.task_id, vote_of(e.answer)] / sizes[e.task_id]
        for e in episodes
    ]


def estimate_rows(
    estimates: Sequence[Estimated], episodes: Sequence[Episode], *, seed: int, resamples: int
) -> list[JsonRow]:
    """One row an estimate, in order, with intervals.

    Args:
        estimates: of exactly these episodes.
        episodes: [N] with an outcome each.
        seed: of the resampling of tasks, the same for every estimate.
        resamples: how many.

    Returns:
        Rows {"estimate", "cut", "reason", "fit", "n", METRIC: {"value", "lo", "hi", "n"},
        "q_minus": {METRIC: {"diff", "lo", "hi", "p"} | None}}: `q_minus` is the expected q minus
        this estimate on the episodes of which both say something.
    """
    tasks = {task: n for n, task in enumerate(dict.fromkeys(e.task_id for e in episodes))}
    place = np.array([tasks[e.task_id] for e in episodes], dtype=np.int64)
    outcomes = np.array([float(e.success or 0) for e in episodes])

    def draws(one: Estimated, rows: Sequence[int]) -> dict[str, Draws]:
        index = np.array(rows, dtype=np.int64)
        table = {
            name: Column(
                metric=SCORES[name],
                q=np.array([one.values[row] for row in rows], dtype=np.float64),
                y=outcomes[index],
                weight=np.ones(len(rows)),
                task=place[index],
                n=len(rows),
            )
            for name in one.metrics
        }
        return table_draws(table, len(tasks), seed=seed, resamples=resamples)

    own = {one.cut: one for one in estimates if one.name == AGAINST}
    found: list[JsonRow] = []
    for one in estimates:
        rows = [n for n, value in enumerate(one.values) if value is not None]
        cells = {name: asdict(interval(drawn)) for name, drawn in draws(one, rows).items()}
        row: JsonRow = {"estimate": one.name, "cut": one.cut, "reason": one.reason or None}
        row |= {"fit": one.fit, "n": len(rows), **{name: cells.get(name) for name in SCORES}}
        row["q_minus"] = None
        q = own.get(one.cut)
        if q is not None and one.name != AGAINST:
            both = [n for n in rows if q.values[n] is not None]
            mine, other = draws(q, both), draws(one, both)
            row["q_minus"] = {
                name: _difference(mine[name], other[name]) if name in other else None
                for name in COMPARED
            }
        found.append(row)
    return found


def _difference(a: Draws, b: Draws) -> dict[str, float] | None:
    """The first minus the second in every resampling: both were drawn with the same tasks."""
    return difference(Draws(point=a.point - b.point, values_R=a.values_R - b.values_R, n=a.n))
