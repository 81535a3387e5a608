"""Which evaluations of a run are compared with which: each stage with the checkpoint before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from forethought.evals.blocks import compare_losses
from forethought.jsonl import read_jsonl
from forethought.runlog import read_episodes
from forethought.stages.context import Context
from forethought.stages.midtrain import BLOCKS
from forethought.stats.bootstrap import paired_difference

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
    rows = _block_losses(context)
    for a, b in pairs:
        if a not in names or b not in names:
            continue
        left = read_episodes(context.paths.eval_dir(a) / "episodes.jsonl")
        right = read_episodes(context.paths.eval_dir(b) / "episodes.jsonl")
        for metric in METRICS:
            cell = paired_difference(left, right, metric, seed=context.config.seed)
            if cell is not None:
                rows.append({"a": a, "b": b, "metric": metric, **cell, "unit": "task"})
    return rows


def _block_losses(context: Context) -> list[dict[str, Any]]:
    """What stage 1 did to the loss on held-out blocks; nothing where it was not measured."""
    file = context.stage_dir("midtrain") / BLOCKS
    if not file.is_file():
        return []
    rows = [row for _, row in read_jsonl(file)]
    return compare_losses(rows, seed=context.config.seed)
