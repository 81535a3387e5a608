"""Gradients that are written out beside those of autograd."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor
from torch.nn.functional import linear, silu

from forethought.training.layers import mlp, norm, products

_EPS = 1e-3  # large enough to be felt


def plain_norm(x: Tensor, weight: Tensor) -> Tensor:
    return x * (x.pow(2).mean(-1, keepdim=True) + _EPS).rsqrt() * weight


def plain_products(x: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
    return tuple(linear(x, weight) for weight in weights)


def plain_mlp(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    return linear(silu(linear(x, gate)) * linear(x, up), down)


CASES: dict[
    str, tuple[Callable[..., object], Callable[..., object], tuple[tuple[int, ...], ...]]
] = {
    "norm": (lambda x, w: norm(x, w, _EPS), plain_norm, ((7, 6), (6,))),
    "one product": (products, plain_products, ((7, 6), (5, 6))),
    "three products": (products, plain_products, ((7, 6), (5, 6), (2, 6), (3, 6))),
    "mlp": (mlp, plain_mlp, ((7, 6), (9, 6), (9, 6), (6, 9))),
}


def outcome(
    call: Callable[..., object], inputs: list[Tensor], learns: tuple[bool, ...]
) -> tuple[list[Tensor], list[Tensor]]:
    """Values, and gradients of a weighted sum of them with respect to the inputs that learn."""
    leaves = [x.clone().requires_grad_(one) for x, one in zip(inputs, learns, strict=True)]
    made = call(*leaves)
    values = [made] if isinstance(made, Tensor) else list(made)
    weights = [torch.linspace(-1, 2, v.numel(), dtype=v.dtype).view_as(v) for v in values]
    total = sum((v * w).sum() for v, w in zip(values, weights, strict=True))
    wanted = [x for x in leaves if x.requires_grad]
    return values, list(torch.autograd.grad(total, wanted))


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_those_of_autograd(name: str) -> None:
    ours, plain, shapes = CASES[name]
    noise = torch.Generator().manual_seed(1)
    inputs = [torch.randn(shape, generator=noise, dtype=torch.float64) for shape in shapes]
    for learns in product((False, True), repeat=len(inputs)):
        if any(learns):
            for found, expected in zip(
                outcome(ours, inputs, learns), outcome(plain, inputs, learns), strict=True
            ):
                torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_a_second_backward_pass_finds_what_the_first_one_found(name: str) -> None:
    ours, _, shapes = CASES[name]
    noise = torch.Generator().manual_seed(2)
    leaves = [torch.randn(shape, generator=noise, requires_grad=True) for shape in shapes]
    made = ours(*leaves)
    values = [made] if isinstance(made, Tensor) else list(made)
    total = sum(value.square().sum() for value in values)
    first = torch.autograd.grad(total, leaves, retain_graph=True)
    again = torch.autograd.grad(total, leaves)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
