"""The negative log-likelihood that a policy gives to chosen tokens of a sequence."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from forethought.algos.losses import token_logprobs
from forethought.training.modules import evaluating
from forethought.training.policy import Policy
from forethought.types import TrainingSequence

ROWS = 16  # sequences a forward pass


@torch.inference_mode()
def mean_nll(
    policy: Policy, sequences: Sequence[TrainingSequence], temperature: float = 1.0
) -> list[float]:
    """Mean negative log-likelihood of the tokens with a `ce_weight`, nats a token, by sequence.

    Args:
        policy: scores.
        sequences: one document each.
        temperature: log-probabilities are log-softmax(logits / temperature).
    """
    losses: list[float] = []
    with evaluating(policy.model):
        for first in range(0, len(sequences), ROWS):
            batch = sequences[first : first + ROWS]
            width = max(len(sequence.ids) for sequence in batch)
            ids = torch.tensor([[*s.ids, *[0] * (width - len(s.ids))] for s in batch])  # [B, L]
            weight = torch.tensor([[*s.ce_weight, *[0.0] * (width - len(s.ids))] for s in batch])
            ids, weight = ids.to(policy.device), weight.to(policy.device)
            # Padding stands behind the last real token, where a causal model does not look.
            logits = policy.project(policy.features(ids))[:, :-1]
            picked = token_logprobs(logits, ids[:, 1:], temperature)
            total = -(picked * weight[:, 1:]).sum(1) / weight[:, 1:].sum(1).clamp(min=1.0)
            losses += total.tolist()
    return losses
