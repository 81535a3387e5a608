"""Losses and gradients of two sides that should be equal."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from forethought.training.trainer import Denominators, Trainer
from forethought.types import TrainingSequence

SAME = 1e-5
"""By how much losses may differ, and gradients as a share."""


def gradient_of(
    trainer: Trainer, sequences: Sequence[TrainingSequence], denominators: Denominators
) -> tuple[dict[str, float], list[torch.Tensor]]:
    """What `Trainer.step` tells, and the gradient that it would step along."""
    found: list[torch.Tensor] = []

    def keep(step: int, total_steps: int) -> float:
        found.extend(p.grad.clone() for p in trainer.policy.model.parameters())
        return 0.0  # as a rate of 0: no weight has to change

    trainer.optimiser.step = keep  # type: ignore[method-assign]
    return trainer.step(sequences, denominators=denominators, step_index=0), found


def apart(mine: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor]) -> float:
    """How far two gradients are apart, as a share of the second."""
    pairs = list(zip(mine, theirs, strict=True))
    gap = sum(float((a.double() - b.double()).square().sum()) for a, b in pairs)
    size = sum(float(b.double().square().sum()) for _, b in pairs)
    return float((gap / size) ** 0.5)
