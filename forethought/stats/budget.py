"""Ways to act against self-consistency at equal sampled tokens: is a mode worth what it costs?

Self-consistency takes the commonest answer of n rollouts (arXiv 2203.11171). From K rollouts of a
task its success at every n <= K is known in expectation over all subsets of n, exactly: no subset
is drawn, and the order of the rollouts does not matter.

With p_i(n) that expectation for task i, and c_i the mean tokens of one rollout, n rollouts cost
n c_i in expectation. A mode that spends B tokens a task is matched at n* = B / c, both means over
tasks. Between whole numbers success is interpolated: tossing a coin for one rollout more spends
exactly n* c tokens and wins that often, so this is something that one can do, and not a fit. Below
n = 1 the coin decides whether the task is tried at all. Above K nothing is known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import comb

import numpy as np

from forethought.stats.bootstrap import Draws, difference, interval, task_counts
from forethought.stats.metrics import Array
from forethought.stats.rows import spent_tokens, task_ids, valid_episodes, vote_of
from forethought.types import Episode, JsonRow


def voted_success(members: Sequence[Episode]) -> list[float]:
    """Chance that the commonest answer of n of a task's rollouts is right, n = 0, 1, .., K.

    Of answers that tie for the first place one is drawn, which is what "the first of them" comes to
    in a random order. A rollout without an answer has no vote; if none has one, the task is lost.

    Args:
        members: the K rollouts of one task.
    """
    counts = Counter(vote_of(e.answer) for e in members if e.answer is not None)
    right = {vote_of(e.answer) for e in members if e.answer is not None and e.success}
    silent, total = len(members) - counts.total(), len(members)
    wins = np.zeros(total + 1)
    for answer in right:
        others = [count for other, count in counts.items() if other != answer]
        for votes in range(1, counts[answer] + 1):
            ways = _beaten(others, silent, votes, total - votes)
            wins[votes : votes + len(ways)] += comb(counts[answer], votes) * ways
    subsets = np.array([comb(total, n) for n in range(total + 1)], dtype=np.float64)
    return [float(value) for value in wins / subsets]


def _beaten(others: Sequence[int], silent: int, votes: int, room: int) -> Array:
    """[room + 1] ways to choose 0 .. room rollouts so that no other answer has more than `votes`.

    Each way counts 1 / (1 + number of answers that tie), the chance of the draw.

    Args:
        others: rollouts of each other answer.
        silent: rollouts without an answer.
        votes: what the answer in question has.
        room: most further rollouts.
    """
    ways = np.zeros((len(others) + 1, room + 1))  # ties, rollouts chosen
    ways[0, 0] = 1.0
    for count in others:
        more = np.zeros_like(ways)
        for chosen in range(min(count, votes, room) + 1):
            grown = comb(count, chosen) * ways[:, : room + 1 - chosen]
            if chosen == votes:
                more[1:, chosen:] += grown[:-1]
            else:
                more[:, chosen:] += grown
        ways = more
    drawn = (ways / (1.0 + np.arange(len(ways)))[:, None]).sum(axis=0)
    free = np.array([comb(silent, n) for n in range(room + 1)], dtype=np.float64)
    return np.convolve(drawn, free)[: room + 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """Self-consistency on tasks, from K rollouts of each or more."""

    tasks: tuple[str, ...]  # [N]
    success: Array  # [N, K + 1] of the vote of n = 0 .. K rollouts
    tokens: Array  # [N] mean sampled tokens of one rollout

    @classmethod
    def of(cls, episodes: Sequence[Episode]) -> Sampled:
        """From the episodes of one evaluation; K: the least number of whole rollouts of a task."""
        groups = _by_task(episodes)
        curves = [voted_success(members) for members in groups.values()]
        k = min((len(curve) for curve in curves), default=1)
        return cls(
            tasks=tuple(groups),
            success=np.array([curve[:k] for curve in curves]).reshape(len(curves), k),
            tokens=np.array([_mean_tokens(members) for members in groups.values()]),
        )

    @property
    def k(self) -> int:
        """Most rollouts that are voted over."""
        return int(self.success.shape[1]) - 1


def _by_task(episodes: Sequence[Episode]) -> dict[str, list[Episode]]:
    groups: dict[str, list[Episode]] = {task: [] for task in task_ids(episodes)}
    for episode in valid_episodes(episodes):
        groups[episode.task_id].append(episode)
    return groups


def _mean_tokens(members: Sequence[Episode]) -> float:
    return float(np.mean([spent_tokens(episode) for episode in members]))


def matched_row(sampled: Sampled, mode: Sequence[Episode], *, seed: int, resamples: int) -> JsonRow:
    """A mode against the vote with as many sampled tokens, on the tasks that both have.

    Args:
        sampled: rollouts of the policy as it is.
        mode: episodes of a way to act; several rollouts of a task are averaged.
        seed: of the resampling of tasks. Means, n* and the vote at n* are computed anew in each, so
            the intervals hold the uncertainty of the match, too.
        resamples: how many.

    Returns:
        {"num_tasks", "tokens", "rollouts", "success", "voted", "minus_voted"}: mean tokens a task,
        n* and the success of both with intervals, and the paired difference. `voted` and
        `minus_voted` are undefined where n* is above K.
    """
    groups = _by_task(mode)
    shared = [n for n, task in enumerate(sampled.tasks) if task in groups]
    members = [groups[sampled.tasks[n]] for n in shared]
    table = np.column_stack(
        [
            sampled.success[shared],  # [S, K + 1]
            sampled.tokens[shared],
            [_mean_tokens(group) for group in members],
            [np.mean([float(episode.success or 0) for episode in group]) for group in members],
        ]
    )
    one = np.full((1, len(shared)), 1.0)
    point, drawn = (
        _matched(counts @ table / max(len(shared), 1))
        for counts in (one, task_counts(len(shared), resamples, seed))
    )
    draws = {
        name: Draws(point=float(point[name][0]), values_R=drawn[name], n=len(shared))
        for name in point
    }
    row: JsonRow = {"num_tasks": len(shared)}
    row |= {name: asdict(interval(draws[name])) for name in draws if name != "minus_voted"}
    return row | {"minus_voted": difference(draws["minus_voted"])}


def _matched(means_R: Array) -> dict[str, Array]:
    """What means over tasks [R, K + 4] come to: curve, cost of a rollout, cost and success."""
    curve, cost, tokens, success = means_R[:, :-3], *means_R[:, -3:].T
    k = curve.shape[1] - 1
    with np.errstate(invalid="ignore", divide="ignore"):
        rollouts = np.where(cost > 0, tokens / cost, np.nan)
    known = np.isfinite(rollouts) & (rollouts <= k)
    place = np.where(known, rollouts, 0.0)
    low = np.minimum(place.astype(np.int64), max(k - 1, 0))
    lines = np.arange(len(curve))
    share = place - low
    voted = (1 - share) * curve[lines, low] + share * curve[lines, np.minimum(low + 1, k)]
    voted = np.where(known, voted, np.nan)
    return {
        "tokens": tokens,
        "rollouts": rollouts,
        "success": success,
        "voted": voted,
        "minus_voted": success - voted,
    }


def curve_rows(sampled: Sampled) -> list[JsonRow]:
    """{"rollouts", "tokens", "success"} of the vote of n = 1 .. K rollouts, means over tasks."""
    cost = float(sampled.tokens.mean())
    return [
        {"rollouts": n, "tokens": n * cost, "success": float(sampled.success[:, n].mean())}
        for n in range(1, sampled.k + 1)
    ]
