from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forethought.training import muon
from forethought.training.muon import StackedMuon, orthogonalised

COEFFICIENTS = (3.4445, -4.775, 2.0315)
SHAPES = ((8, 8), (8, 24), (24, 8), (8, 8), (3, 5))


def weights(seed: int) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


@given(st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_a_step_is_that_of_torch_up_to_the_rounding_of_bfloat16(seed: int) -> None:
    ours, theirs = weights(seed), weights(seed)
    made = StackedMuon(ours, lr=0.1, weight_decay=0.01, momentum=0.9)
    reference = torch.optim.Muon(
        theirs, lr=0.1, weight_decay=0.01, momentum=0.9, adjust_lr_fn="match_rms_adamw"
    )
    for step in range(3):
        generator = torch.Generator().manual_seed(seed + step)
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn(one.shape, generator=generator)
            other.grad = one.grad.clone()
        made.step()
        reference.step()
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, atol=2e-2)
    assert made.state_dict()["state"].keys() == reference.state_dict()["state"].keys()


def test_a_matrix_becomes_about_orthogonal_whatever_its_shape() -> None:
    for made in orthogonalised([p.detach() for p in weights(0)], COEFFICIENTS, 5, 1e-7):
        singular = torch.linalg.svdvals(made.float())
        assert singular.min() > 0.3
        assert singular.max() < 1.3


def test_stacks_are_bounded_and_hold_every_matrix_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(muon, "_STACK_ELEMENTS", 2 * 8 * 24)
    stacks = muon._stacks([torch.zeros(8, 24)] * 5 + [torch.zeros(24, 8), torch.zeros(64, 64)])
    assert sorted(i for stack in stacks for i in stack) == list(range(7))
    assert max(map(len, stacks)) == 2


def test_a_parameter_without_a_gradient_stays() -> None:
    first, second = weights(1)[:2]
    before = second.detach().clone()
    first.grad = torch.ones_like(first)
    StackedMuon([first, second], lr=0.1, weight_decay=0.5, momentum=0.9).step()
    assert torch.equal(second, before)
