"""Packed rows through a policy: who sees whom, and prefixes that are read once.

A prefix runs through the model once. Its keys and values are handed to every row that goes on
behind it, so that the gradients of all rows add up in them and reach the weights in one backward
pass: the same sum as if each row had read the prefix itself.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from forethought.algos.packing import PackedBatch, Prefixes
from forethought.training.modules import evaluating
from forethought.training.policy import Policy

_MOVING_ROPE = frozenset({"dynamic", "longrope"})  # angles depend on the longest position of a pass


def row_features(policy: Policy, batch: PackedBatch) -> Tensor:
    """Features [G * P + B * L, *] of all positions: of the prefixes, if any, then of the rows."""
    ids = torch.from_numpy(batch.ids).to(policy.device)
    document = torch.from_numpy(batch.document).to(policy.device)
    positions = torch.from_numpy(batch.position).to(policy.device)
    if batch.prefixes is not None:
        return _features_behind(policy, batch.prefixes, ids, document, positions)
    if (batch.document > 0).any():
        return policy.features(ids, document_mask(document), positions).flatten(0, 1)
    # Alone in its row a document needs no mask: padding lies behind it, unseen.
    return policy.features(ids).flatten(0, 1)


def _features_behind(
    policy: Policy, prefixes: Prefixes, ids: Tensor, document: Tensor, positions: Tensor
) -> Tensor:
    from transformers import DynamicCache

    cache = DynamicCache(config=policy.model.config)
    shared = torch.from_numpy(prefixes.ids).to(ids.device)
    before = policy.features(shared, cache=cache)  # padding lies behind a prefix, unseen
    for layer in cache.layers:
        layer.keys = _handed_out(layer.keys, prefixes.rows)
        layer.values = _handed_out(layer.values, prefixes.rows)
    after = policy.features(ids, prefix_mask(prefixes, document), positions, cache)
    return torch.cat([before.flatten(0, 1), after.flatten(0, 1)])


def _handed_out(kept: Tensor, rows: Sequence[int]) -> Tensor:
    """[G, K, P, D] -> [B, K, P, D], each to its rows.

    As views: threads would add up the gradient of an index in an order of their own.
    """
    parts = zip(torch.unbind(kept), rows, strict=True)
    return torch.cat([one.expand(count, -1, -1, -1) for one, count in parts])


def document_mask(document: Tensor) -> Tensor:
    """Who may see whom in packed rows: earlier tokens of the same document, and oneself.

    Args:
        document: [B, L] number of the document; padding counts as one more document, so that no
            position is left without anything to see.

    Returns:
        [B, L, L] bool, query by key.
    """
    same = document.unsqueeze(2) == document.unsqueeze(1)
    return same.tril()


def prefix_mask(prefixes: Prefixes, document: Tensor) -> Tensor:
    """As `document_mask` for rows behind prefixes, which all tokens of their rows see.

    Returns:
        [B, L, P + L] bool, query by key; [1, L, P + L] where all rows have the same.
    """
    if len(prefixes.rows) == 1 and not (document > 0).any():
        document = torch.zeros_like(document[:1])  # padding lies behind, unseen
    own = document_mask(document)
    ends = np.repeat(prefixes.lengths, prefixes.rows)[: len(own)]
    columns = torch.arange(prefixes.ids.shape[1], device=document.device)
    seen = columns < torch.from_numpy(ends).to(document.device).unsqueeze(1)
    return torch.cat([seen.unsqueeze(1).expand(-1, own.shape[1], -1), own], dim=2)


@torch.no_grad()
def can_share(policy: Policy) -> bool:
    """Whether rows behind a prefix give what whole sequences give.

    Not with sliding windows, layers that keep another state than keys and values, attention that
    takes no mask, or angles that depend on the length of a pass; what is left is tried out.
    """
    model = policy.model
    takes = inspect.signature(model.forward).parameters
    if not {"attention_mask", "position_ids", "past_key_values"} <= set(takes):
        return False
    rope = getattr(model.config, "rope_parameters", None) or {}
    kinds = {part.get("rope_type") for part in (rope, *rope.values()) if isinstance(part, dict)}
    recomputes = any(getattr(part, "gradient_checkpointing", False) for part in model.modules())
    if policy.mask_problem(math.inf) or recomputes or kinds & _MOVING_ROPE:
        return False
    with evaluating(model):
        return _keeps_keys_and_values(policy) and _gives_the_same(policy)


def _keeps_keys_and_values(policy: Policy) -> bool:
    from transformers.cache_utils import DynamicLayer

    ids = torch.zeros((1, 1), dtype=torch.long, device=policy.device)
    cache = getattr(policy.model(input_ids=ids, use_cache=True), "past_key_values", None)
    return {type(layer) for layer in getattr(cache, "layers", ())} == {DynamicLayer}


def _gives_the_same(policy: Policy) -> bool:
    """Two documents behind a prefix against each of them behind its own."""
    ids = torch.arange(8, device=policy.device) % policy.model.config.vocab_size
    first, one, other = ids[:4], ids[4:6], ids[6:]
    whole = [policy.features(torch.cat([first, rest]).unsqueeze(0))[0] for rest in (one, other)]
    shared = _features_behind(
        policy,
        Prefixes(ids=first.unsqueeze(0).cpu().numpy(), lengths=np.array([4]), rows=(1,)),
        ids[4:].unsqueeze(0),
        torch.tensor([[0, 0, 1, 1]], device=policy.device),
        torch.tensor([[4, 5, 4, 5]], device=policy.device),
    )
    expected = torch.cat([whole[0], whole[1][4:]]).float()
    bound = 1e-3 if policy.dtype == torch.float32 else 5e-2
    largest = float((shared.float() - expected).abs().max())
    return largest <= bound * float(expected.abs().max())
