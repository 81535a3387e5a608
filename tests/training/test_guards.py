from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from training_builders import denominators, sequences, trainer, word_policy

from forethought.errors import GuardRail
from forethought.training.guards import WeightWatch
from forethought.training.optim import OptimConfig
from forethought.training.trainer import Denominators
from forethought.types import TrainingSequence


def test_a_batch_without_a_trained_token_stops_and_names_its_sequences() -> None:
    policy = word_policy()
    before = policy.sha256()
    batch = [TrainingSequence(ids=(5, 6, 7), ce_weight=(0.0, 0.0, 0.0), source="t1/0")]
    with pytest.raises(GuardRail, match=r"without a trained token.*t1/0"):
        trainer(policy).step(batch, denominators=Denominators(ce=0.0), step_index=0)
    with pytest.raises(GuardRail, match="without a trained token"):
        trainer(policy).step([], denominators=Denominators(), step_index=0)
    assert policy.sha256() == before


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_before_it_reaches_a_weight(bad: float) -> None:
    policy = word_policy()
    before = policy.sha256()
    batch = sequences(policy, 3)
    broken = replace(batch[1], advantage=(bad,) * len(batch[1].ids))
    with pytest.raises(GuardRail, match=r"the loss of step 4 is (nan|-?inf).*t1/0"):
        trainer(policy).step([batch[0], broken], denominators=denominators(batch), step_index=4)
    assert policy.sha256() == before


def test_a_gradient_that_is_not_finite_stops_and_names_the_parameter() -> None:
    policy = word_policy()
    policy.model.model.norm.weight.register_hook(lambda grad: grad * math.nan)
    before = policy.sha256()
    batch = sequences(policy, 3)
    with pytest.raises(GuardRail, match=r"gradient of step 2 is nan .*norm"):
        trainer(policy).step(batch, denominators=denominators(batch), step_index=2)
    assert policy.sha256() == before


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_weights_that_do_not_change_stop_the_run(name: str) -> None:
    policy = word_policy()
    batch = sequences(policy, 3)
    optim = OptimConfig(name=name, lr=1e-30, adamw_lr=1e-30)  # type: ignore[arg-type]
    with pytest.raises(GuardRail, match="changed no weight"):
        trainer(policy, optim).step(batch, denominators=denominators(batch), step_index=0)


def test_bf16_weights_that_swallow_every_update_are_noticed() -> None:
    policy = word_policy()
    policy.model.to(torch.bfloat16)
    with torch.no_grad():  # away from 0, where even tiny updates survive rounding
        for parameter in policy.model.parameters():
            parameter.copy_(parameter.sign() * parameter.abs().clamp(min=0.01))
    batch = sequences(policy, 3)
    optim = OptimConfig(name="adamw", lr=1e-6)
    with pytest.raises(GuardRail, match="bfloat16"):
        trainer(policy, optim).step(batch, denominators=denominators(batch), step_index=1)


def test_one_row_that_changes_is_seen_wherever_it_stands() -> None:
    """An embedding of which one token was there, and the broken twin that changes nothing."""
    weight = torch.nn.Parameter(torch.ones(1000, 7))
    weight.grad = torch.zeros_like(weight)
    weight.grad[501, 4] = -1.0
    assert 501 * 7 + 4 not in range(0, 7000, 7000 // 256)
    watch = WeightWatch.before([weight])
    with pytest.raises(GuardRail, match="changed no weight"):
        watch.require_change(1.0, 1.0, 0)
    with torch.no_grad():
        weight[501, 4] = 2.0
    watch.require_change(1.0, 1.0, 0)


def test_no_change_is_expected_without_a_gradient_or_a_rate() -> None:
    policy = word_policy()
    batch = [replace(s, ce_weight=(), advantage=(0.0,) * len(s.ids)) for s in sequences(policy, 3)]
    stats = trainer(policy).step(batch, denominators=denominators(batch), step_index=0)
    assert stats["grad_norm"] == 0.0
    full = sequences(policy, 3)
    last = OptimConfig(final_fraction=0.0)
    stats = trainer(policy, last).step(full, denominators=denominators(full), step_index=5)
    assert stats["lr_factor"] == 0.0
