"""Two evaluations side by side on the tasks that both have: won, lost, and by how much.

An attempt is paired with the one of the same task and number: evaluations of one configuration give
both the same sampling noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from forethought.stats.bootstrap import COMPARED, difference, paired_draws
from forethought.types import Episode, JsonRow

METRICS = (*COMPARED, "sampled_tokens")
GROUPS = ("only_a", "only_b", "both", "neither")
"""Who won an attempt."""


def compare(name: str, a: Sequence[Episode], b: Sequence[Episode], seed: int = 0) -> JsonRow:
    """Counts, attempts and differences of two evaluations.

    Args:
        name: of the evaluation.
        a: one side; attempts that the machine ended are left out, with their twin.
        b: the other side.
        seed: of the resampling of tasks.

    Returns:
        `{"eval", "num_tasks", "num_attempts", "won": {group: n}, "attempts": {group: [row]},
        "comparisons": [{"metric", "diff", "lo", "hi", "p", "unit"}]}`; `diff` is a - b.
    """
    theirs = {(e.task_id, e.rollout): e for e in b if e.success is not None}
    pairs = [
        (e, theirs[e.task_id, e.rollout])
        for e in a
        if e.success is not None and (e.task_id, e.rollout) in theirs
    ]
    attempts: dict[str, list[JsonRow]] = {group: [] for group in GROUPS}
    for mine, other in pairs:
        attempts[_group(mine, other)].append(_row(mine, other))
    found: dict[str, Any] = {}
    if pairs:
        found = paired_draws([x for x, _ in pairs], [y for _, y in pairs], METRICS, seed=seed)
    return {
        "eval": name,
        "num_tasks": len({mine.task_id for mine, _ in pairs}),
        "num_attempts": len(pairs),
        "won": {group: len(rows) for group, rows in attempts.items()},
        "attempts": attempts,
        "comparisons": [
            {"metric": metric, **cell, "unit": "task"}
            for metric, draws in found.items()
            if (cell := difference(draws)) is not None
        ],
    }


def by_exact_match(episodes: Sequence[Episode]) -> list[Episode]:
    """The episodes with exact match as their success: what two sides with other judges share."""
    return [e if e.success_em is None else replace(e, success=e.success_em) for e in episodes]


def _group(a: Episode, b: Episode) -> str:
    if a.success and b.success:
        return "both"
    if a.success:
        return "only_a"
    return "only_b" if b.success else "neither"


def _row(a: Episode, b: Episode) -> JsonRow:
    return {
        "task_id": a.task_id,
        "rollout": a.rollout,
        "question": a.question,
        "right": a.answers[0],
        "a": _side(a),
        "b": _side(b),
    }


def _side(episode: Episode) -> JsonRow:
    """What one side answered, how it ended, and what it said of its chance at first and at last."""
    stated = [t.foresight.q for t in episode.turns if t.foresight and t.foresight.q is not None]
    return {
        "answer": episode.answer,
        "stop_reason": episode.stop_reason.value,
        "turns": len(episode.turns),
        "q_first": stated[0] if stated else None,
        "q_last": stated[-1] if stated else None,
    }
