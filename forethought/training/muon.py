"""Muon with one Newton-Schulz iteration for all matrices of a shape.

A small model has dozens of small matrices, and `torch.optim.Muon` orthogonalises them one by one:
hundreds of tiny products a step, a quarter of the training time of a million parameters. The same
products in batches take less than half; state and update are those of the parent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

_STACK_ELEMENTS = 1 << 24  # of one batch of matrices: bounds the extra memory of a large model


class StackedMuon(torch.optim.Muon):
    """`torch.optim.Muon` (K. Jordan, 2024), batched; rates scaled to AdamW's (arXiv 2502.16982)."""

    def __init__(
        self, params: Sequence[Tensor], *, lr: float, weight_decay: float, momentum: float
    ) -> None:
        """Takes matrices; the constants of the iteration are the defaults of the parent."""
        super().__init__(
            params,
            lr=lr,
            weight_decay=weight_decay,
            momentum=momentum,
            adjust_lr_fn="match_rms_adamw",
        )

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            self._update(group)

    def _update(self, group: dict[str, Any]) -> None:
        params = [p for p in group["params"] if p.grad is not None]
        if not params:
            return
        grads = [p.grad for p in params]
        for p in params:
            if "momentum_buffer" not in self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        buffers = [self.state[p]["momentum_buffer"] for p in params]
        torch._foreach_lerp_(buffers, grads, 1 - group["momentum"])
        updates = torch._foreach_lerp(grads, buffers, group["momentum"])
        orthogonal = orthogonalised(
            updates, group["ns_coefficients"], group["ns_steps"], group["eps"]
        )
        torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
        for p, update in zip(params, orthogonal, strict=True):
            p.add_(update, alpha=-group["lr"] * 0.2 * math.sqrt(max(p.shape)))


def orthogonalised(
    matrices: Sequence[Tensor], coefficients: tuple[float, float, float], steps: int, eps: float
) -> list[Tensor]:
    """Each matrix M = U S V' as about U V', in bfloat16: a quintic Newton-Schulz iteration.

    Args:
        matrices: [m, n] each, of any shapes.
        coefficients: a, b, c of X <- a X + (b G + c G G) X with G = X X'.
        steps: iterations.
        eps: smallest norm to divide by.
    """
    a, b, c = coefficients
    result: list[Tensor] = [*matrices]
    for indices in _stacks(matrices):
        rows = []
        for i in indices:
            flat = matrices[i].bfloat16()
            flat = flat.T if flat.shape[0] > flat.shape[1] else flat
            rows.append(flat / flat.norm().clamp(min=eps))
        x = torch.stack(rows)
        for _ in range(steps):
            gram = x @ x.mT
            x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
        for i, done in zip(indices, x, strict=True):
            result[i] = done if done.shape == matrices[i].shape else done.T
    return result


def _stacks(matrices: Sequence[Tensor]) -> list[list[int]]:
    """Indices of matrices that share a shape up to transposition, in bounded groups."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, matrix in enumerate(matrices):
        groups.setdefault(tuple(sorted(matrix.shape)), []).append(i)
    stacks: list[list[int]] = []
    for (short, long), indices in groups.items():
        size = max(1, _STACK_ELEMENTS // (short * long))
        stacks += [indices[first : first + size] for first in range(0, len(indices), size)]
    return stacks
