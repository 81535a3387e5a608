"""Which evaluations of a run are compared with which: each stage with the checkpoint before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from forethought.runlog import read_block_losses, read_episodes
from forethought.stages.context import Context
from forethought.stats.blocks import block_loss_draws
from forethought.stats.bootstrap import Draws, difference, paired_draws

METRICS = (
    "success",
    "brier_skill_expected.first",
    "brier_skill_expected.all",
    "auroc_expected.first",
    "keyword_lift",
)


def compare_stages(context: Context, stages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Paired differences on the same tasks with the same noise.

    Returns:
        Rows {"a", "b", "metric", "diff", "lo", "hi", "p", "unit"}: b minus a is not meant, `diff`
        is a - b; the unit is the task (seeds are the unit only across runs).
    """
    names = {stage["eval"] for stage in stages}
    arms = sorted({stage["arm"] for stage in stages} - {"full"})
    pairs = [("midtrain", "base"), ("sft", "midtrain"), ("rl", "sft")]
    pairs += [("rl-greedy", "sft-greedy"), ("sft-imagine4", "sft"), ("rl-imagine4", "rl")]
    for arm in arms:
        pairs += [(f"{arm}-rl", f"{arm}-sft"), ("sft", f"{arm}-sft"), ("rl", f"{arm}-rl")]
    seed = context.config.seed
    losses = block_loss_draws(read_block_losses(context.paths.root), seed=seed)
    rows = _rows("midtrain", "base", losses)
    for a, b in pairs:
        if a not in names or b not in names:
            continue
        left = read_episodes(context.paths.eval_dir(a) / "episodes.jsonl")
        right = read_episodes(context.paths.eval_dir(b) / "episodes.jsonl")
        rows += _rows(a, b, paired_draws(left, right, METRICS, seed=seed))
    return rows


def _rows(a: str, b: str, found: dict[str, Draws]) -> list[dict[str, Any]]:
    """One row a metric that is defined on both sides."""
    return [
        {"a": a, "b": b, "metric": metric, **cell, "unit": "task"}
        for metric, draws in found.items()
        if (cell := difference(draws)) is not None
    ]
