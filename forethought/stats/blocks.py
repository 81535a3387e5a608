"""What stage 1 did to the loss on held-out blocks: the figures of midtrain/blocks.jsonl."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from forethought.stats.bootstrap import Draws, task_counts
from forethought.types import JsonRow

KINDS = ("true", "shuffled")


def block_loss_draws(
    rows: Sequence[JsonRow], *, seed: int, resamples: int = 2000
) -> dict[str, Draws]:
    """The change of the loss on true and on shuffled blocks, and how much more the first fell.

    Args:
        rows: one a task: of each kind, nats a token before and after the stage.
        seed: of the resampling of tasks.
        resamples: number of draws.

    Returns:
        `block_loss.KIND`, after minus before, and `block_loss_fall.true_minus_shuffled`, which is
        above 0 where the future was learned; nothing without rows.
    """
    if not rows:
        return {}
    fall = {
        kind: np.array([row[kind]["before"] - row[kind]["after"] for row in rows], dtype=np.float64)
        for kind in KINDS
    }
    series = {f"block_loss.{kind}": -fall[kind] for kind in KINDS}
    series["block_loss_fall.true_minus_shuffled"] = fall["true"] - fall["shuffled"]
    counts = task_counts(len(rows), resamples, seed)
    return {
        name: Draws(point=float(values.mean()), values_R=counts @ values / len(rows), n=len(rows))
        for name, values in series.items()
    }
