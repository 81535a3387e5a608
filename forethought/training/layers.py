"""What a layer of a Llama computes beside attention, with gradients written out.

Autograd would write every step of a backward pass to memory of its own and read it again for the
next one; for matrices that no longer fit the core's cache that costs as much as the arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import silu


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:  # type: ignore[override]
        square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_()
        scale = square.div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        normed: Tensor = (x * scale).mul_(weight)
        return normed

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight, scale = ctx.saved_tensors
        product = gradient * x
        d_weight = (scale.t() @ product)[0] if ctx.needs_input_grad[1] else None
        if not ctx.needs_input_grad[0]:
            return None, d_weight, None
        pull = (product @ weight).unsqueeze(1).mul_(scale.pow(3)).div_(-x.shape[-1])
        d_x = torch.mul(gradient, weight, out=product).mul_(scale).addcmul_(x, pull)
        return d_x, d_weight, None


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        ctx.save_for_backward(x, *weights)
        return tuple(torch.mm(x, weight.t()) for weight in weights)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, *weights = ctx.saved_tensors
        d_x = _back(gradients, weights) if ctx.needs_input_grad[0] else None
        needed = ctx.needs_input_grad[1:]
        return d_x, *(g.t() @ x if n else None for g, n in zip(gradients, needed, strict=True))


class _Mlp(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: Tensor, gate: Tensor, up: Tensor, down: Tensor
    ) -> Tensor:
        opening, factor = torch.mm(x, gate.t()), torch.mm(x, up.t())
        opened = silu(opening)
        inner = opened * factor
        ctx.save_for_backward(x, gate, up, down, opening, factor, opened, inner)
        return torch.mm(inner, down.t())

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, gate, up, down, opening, factor, opened, inner = ctx.saved_tensors
        to_x, to_gate, to_up, to_down = ctx.needs_input_grad
        d_down = gradient.t() @ inner if to_down else None
        d_opening = gradient @ down
        d_factor = opened * d_opening
        d_opening.mul_(factor)
        torch.ops.aten.silu_backward.grad_input(d_opening, opening, grad_input=d_opening)
        return (
            _back((d_opening, d_factor), (gate, up)) if to_x else None,
            d_opening.t() @ x if to_gate else None,
            d_factor.t() @ x if to_up else None,
            d_down,
        )


def _back(gradients: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    """The gradient of what was multiplied with several matrices."""
    total = torch.mm(gradients[0], weights[0])
    for gradient, weight in zip(gradients[1:], weights[1:], strict=True):
        total.addmm_(gradient, weight)
    return total


def norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """`x / sqrt(mean(x^2) + eps) * weight` over the last axis of x [n, D], in its format."""
    normed: Tensor = _Norm.apply(x, weight, eps)  # type: ignore[no-untyped-call]
    return normed


def products(x: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
    """`x W'` of x [n, D] with each W [m, D]; all of one format."""
    made: tuple[Tensor, ...] = _Products.apply(x, *weights)  # type: ignore[no-untyped-call]
    return made


def mlp(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """`(silu(x G') * (x U')) D'` of x [n, D] with G and U [F, D] and D [D, F]; of one format."""
    made: Tensor = _Mlp.apply(x, gate, up, down)  # type: ignore[no-untyped-call]
    return made
