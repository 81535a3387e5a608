"""Losses and gradients of two sides that should be equal, and the plain side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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


def plain_loss(
    model: Any, batch: Sequence[TrainingSequence], total: float | None = None
) -> torch.Tensor:
    """The same loss in the usual way: padded rows, logits of every position.

    Args:
        model: of transformers.
        batch: one sequence a row, padded on the right.
        total: divides the loss; None: the weights of this batch.
    """
    width = max(len(s.ids) for s in batch)

    def padded(rows: list[list[Any]], kind: torch.dtype) -> torch.Tensor:
        filled = [row + [0] * (width - len(row)) for row in rows]
        return torch.tensor(filled, dtype=kind).to(model.device)

    ids = padded([list(s.ids) for s in batch], torch.long)
    mask = padded([[1] * len(s.ids) for s in batch], torch.long)
    weight = padded([list(s.ce_weight) for s in batch], torch.float32)
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    loss = torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="none"
    )
    found: torch.Tensor = (loss * weight[:, 1:].flatten()).sum() / (total or float(weight.sum()))
    return found
