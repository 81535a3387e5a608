"""Cross-entropy on what the environment replied, beside that on the response."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from forethought.types import TrainingSequence


def with_observations(
    batch: Sequence[TrainingSequence], lam: float
) -> tuple[list[TrainingSequence], float]:
    """The batch with `obs_weight` folded into `ce_weight`, and the denominator of both.

        L = (1/D) sum_u w_u nll_u + lam (1/D_o) sum_o w_o nll_o

    with D and D_o the sums of the two kinds of weights over the batch, so that long replies do not
    drown the response. Where nothing but replies trains, D is D_o and lam has no effect.

    Args:
        batch: of one optimiser step.
        lam: weight of the observation loss (ECHO, arXiv 2605.24517); 0 leaves it out.
    """
    response = sum(sum(sequence.ce_weight) for sequence in batch)
    replies = sum(sum(sequence.obs_weight) for sequence in batch)
    if not replies or (response and not lam):
        return list(batch), response
    scale = lam * response / replies if response else 1.0
    folded = [
        replace(
            sequence,
            ce_weight=tuple(
                ce + scale * obs
                for ce, obs in zip(sequence.ce_weight, sequence.obs_weight, strict=True)
            ),
        )
        if sequence.obs_weight
        else sequence
        for sequence in batch
    ]
    return folded, response or replies
