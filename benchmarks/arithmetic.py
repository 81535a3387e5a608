"""What a training step must compute, and how quick this machine computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from sides import Spent, compared

MATRIX = 2048
UNITS = {"cpu": "CPU us a token", "wall": "us a token, wall"}


def weights_of(model: Any) -> tuple[int, int]:
    """Weights of the layers, without the embedding table; and of the output embeddings."""
    tables = {id(m.weight): m.weight for m in (model.get_input_embeddings(),)}
    head = model.get_output_embeddings().weight
    tables[id(head)] = head
    other = sum(p.numel() for p in model.parameters() if id(p) not in tables)
    return other, head.numel()


def training_flops(model: Any, tokens: int, losses: int, seen: int) -> float:
    """Of a forward and a backward pass.

    Args:
        model: a decoder of `transformers`.
        tokens: that go through the layers.
        losses: tokens whose logits are needed.
        seen: pairs of a token and one that it sees, itself included.
    """
    layers, head = weights_of(model)
    config = model.config
    width = config.num_attention_heads * (
        getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    )
    pairs = 12.0 * config.num_hidden_layers * width * seen
    return 6.0 * layers * tokens + 6.0 * head * losses + pairs


def seen_within(lengths: Sequence[int]) -> int:
    """Pairs of a token and one that it sees in documents of these lengths."""
    return sum(n * (n + 1) // 2 for n in lengths)


class Product:
    """A square matrix product, as the measure of the machine."""

    def __init__(self, dtype: torch.dtype, size: int = MATRIX) -> None:
        """Two matrices of `size` x `size`."""
        draw = torch.Generator().manual_seed(0)
        self._pair = [torch.randn(size, size, generator=draw).to(dtype) for _ in range(2)]
        self.flops = 2.0 * size**3

    def __call__(self) -> None:
        """One product."""
        torch.mm(*self._pair)


def cells(
    spent: Mapping[str, Sequence[Spent]], quantity: str, tokens: float, flops: tuple[float, float]
) -> dict[str, Any]:
    """The cells of a row.

    Args:
        spent: of the calls of each side and of the product ("limit").
        quantity: "cpu" or "wall".
        tokens: of a call.
        flops: of a call of a side, and of a product.
    """
    times = {
        side: [getattr(one, quantity) / tokens * 1e6 for one in calls]
        for side, calls in spent.items()
    }
    middle = {side: float(np.median(values)) for side, values in times.items()}
    least = middle["limit"] * flops[0] / flops[1]
    return {
        **compared(times["ours"], times["peer"], UNITS[quantity]),
        "tokens_per_s": {side: round(1e6 / middle[side], 1) for side in ("ours", "peer")},
        "limit": {
            "what": f"the model's arithmetic as quick as a large product, {UNITS[quantity]}",
            "value": round(least, 4),
            "share": round(least / middle["ours"], 4),
            "gflops_per_s": round(flops[1] / middle["limit"] / tokens * 1e-3, 1),
        },
    }
