"""Which evaluations of a run are compared with which: each stage with the checkpoint before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from forethought.rollout.modes import PROMPTED_ARM
from forethought.runlog import read_block_losses, read_episodes
from forethought.stages.context import Context
from forethought.stats.blocks import block_loss_draws
from forethought.stats.bootstrap import COMPARED, Draws, difference, paired_draws


def pairs_of(arms: Sequence[str], imagine_k: int) -> list[tuple[str, str]]:
    """Names of evaluations (a, b) to compare, in order.

    Each stage with the checkpoint before it, at the temperature of the evaluation and greedy: a
    control arm goes on from the base model. Then what choosing among blocks buys, and the full
    arm against each control.

    Args:
        arms: names of the controls.
        imagine_k: how many blocks are chosen among.
    """
    steps = [("midtrain", "base"), ("sft", "midtrain"), ("rl", "sft")]
    trained = [arm for arm in arms if arm != PROMPTED_ARM]
    for arm in trained:
        steps += [(f"{arm}-sft", "base"), (f"{arm}-rl", f"{arm}-sft")]
    pairs = [*steps, *((f"{a}-greedy", f"{b}-greedy") for a, b in steps)]
    pairs += [(f"{stage}-imagine{imagine_k}", stage) for stage in ("sft", "rl")]
    for arm in trained:
        pairs += [("sft", f"{arm}-sft"), ("rl", f"{arm}-rl")]
    if PROMPTED_ARM in arms:
        pairs += [(stage, f"{PROMPTED_ARM}-base") for stage in ("sft", "rl")]
    return pairs


def compare_stages(context: Context, stages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Paired differences on the same tasks with the same noise.

    Returns:
        Rows {"a", "b", "metric", "diff", "lo", "hi", "p", "unit"}: b minus a is not meant, `diff`
        is a - b; the unit is the task (seeds are the unit only across runs).
    """
    names = {stage["eval"] for stage in stages}
    arms = sorted({stage["arm"] for stage in stages} - {"full"})
    seed = context.config.seed
    losses = block_loss_draws(read_block_losses(context.paths.root), seed=seed)
    rows = _rows("midtrain", "base", losses)
    for a, b in pairs_of(arms, context.config.eval.imagine_k):
        if a not in names or b not in names:
            continue
        left = read_episodes(context.paths.eval_dir(a) / "episodes.jsonl")
        right = read_episodes(context.paths.eval_dir(b) / "episodes.jsonl")
        rows += _rows(a, b, paired_draws(left, right, COMPARED, seed=seed))
    return rows


def _rows(a: str, b: str, found: dict[str, Draws]) -> list[dict[str, Any]]:
    """One row a metric that is defined on both sides."""
    return [
        {"a": a, "b": b, "metric": metric, **cell, "unit": "task"}
        for metric, draws in found.items()
        if (cell := difference(draws)) is not None
    ]
