"""Do blocks still tell tasks apart? Mutual information of first block and task, by cross scoring.

A policy may come to write one block for every task while its entropy looks healthy (template
collapse, arXiv 2604.06268). With one first block z_i of each of P tasks x_i,

    I = mean_i [ log p(z_i | x_i) - log (1/P) sum_j p(z_i | x_j) ]

estimates I(block; task) from below, in nats, and is at most log P (the bound of arXiv 1807.03748
with the exact likelihood ratio as critic). Where blocks do not depend on tasks every term is 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from forethought.training.nll import mean_nll
from forethought.training.policy import Policy
from forethought.types import BLOCK_SPANS, Rollout, TrainingSequence


def block_information(
    policy: Policy, rollouts: Sequence[Rollout], temperature: float
) -> dict[str, float]:
    """`block_mi`, nats, and `block_mi_top`, the share of blocks likeliest behind their own task.

    Args:
        policy: wrote the blocks.
        rollouts: of each task the first whose first turn begins with a block is used; {} with
            fewer than two tasks.
        temperature: of sampling.
    """
    prompts, blocks = _first_blocks(rollouts)
    if len(blocks) < 2:
        return {}
    pairs = [_pair(prompt, block) for block in blocks for prompt in prompts]
    losses = mean_nll(policy, pairs, temperature)
    size = len(blocks)
    scores = [
        [-loss * len(block) for loss in losses[i * size : (i + 1) * size]]
        for i, block in enumerate(blocks)
    ]
    return information(scores)


def information(scores: Sequence[Sequence[float]]) -> dict[str, float]:
    """The two figures from `scores[i][j] = log p(z_i | x_j)`, [P][P]."""
    size = len(scores)
    gains, tops = [], 0
    for i, row in enumerate(scores):
        best = max(row)
        mean = best + math.log(sum(math.exp(score - best) for score in row) / size)
        gains.append(row[i] - mean)
        tops += all(row[i] > score for j, score in enumerate(row) if j != i)
    return {"block_mi": sum(gains) / size, "block_mi_top": tops / size}


def _first_blocks(
    rollouts: Sequence[Rollout],
) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Prompt and first block of one rollout a task."""
    found: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
    for rollout in rollouts:
        if rollout.error is not None or not rollout.turns or rollout.task.id in found:
            continue
        turn = rollout.turns[0]
        inside = [n for n, span in enumerate(turn.token_spans) if span in BLOCK_SPANS]
        if inside:
            found[rollout.task.id] = (rollout.prompt_ids, turn.ids[: inside[-1] + 1])
    return [prompt for prompt, _ in found.values()], [block for _, block in found.values()]


def _pair(prompt: tuple[int, ...], block: tuple[int, ...]) -> TrainingSequence:
    weight = (0.0,) * len(prompt) + (1.0,) * len(block)
    return TrainingSequence(ids=prompt + block, ce_weight=weight)
