from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from training_builders import word_policy

from forethought.errors import InputError
from forethought.training.optim import OptimConfig, build_optimizer, lr_factor

SCHEDULES = st.sampled_from(("constant", "linear", "cosine"))


@given(SCHEDULES, st.integers(1, 200), st.floats(0, 1), st.floats(0, 1))
def test_the_rate_rises_then_falls_to_its_final_share(
    schedule: str, total: int, warmup: float, final: float
) -> None:
    config = OptimConfig(schedule=schedule, warmup_fraction=warmup, final_fraction=final)  # type: ignore[arg-type]
    factors = [lr_factor(config, step, total) for step in range(total)]
    top = factors.index(max(factors))
    assert all(-1e-12 <= factor <= 1.0 for factor in factors)
    assert factors[: top + 1] == sorted(factors[: top + 1])
    assert factors[top:] == sorted(factors[top:], reverse=True)
    assert lr_factor(config, total + 5, total) == pytest.approx(
        1.0 if schedule == "constant" else final
    )


def test_the_schedule_by_hand() -> None:
    config = OptimConfig(warmup_fraction=0.2, final_fraction=0.1)
    factors = [lr_factor(config, step, 10) for step in range(10)]
    assert factors[:3] == [0.5, 1.0, 1.0]
    assert factors[-1] == pytest.approx(0.1)
    assert factors[5] == pytest.approx(1.0 - 0.9 * 3 / 7)


def test_muon_takes_hidden_matrices_and_adamw_every_other_weight_once() -> None:
    model = word_policy().model
    parts = build_optimizer(model, OptimConfig())._parts
    muon = [p for group in parts["muon"].param_groups for p in group["params"]]
    adamw = [p for group in parts["adamw"].param_groups for p in group["params"]]
    names = {id(p): name for name, p in model.named_parameters()}
    assert all("layers" in names[id(p)] and p.ndim == 2 for p in muon)
    assert len(muon) == 2 * 7  # q k v o gate up down
    assert sorted(map(id, [*muon, *adamw])) == sorted(names)
    assert any("embed_tokens" in names[id(p)] for p in adamw)
    assert {group["adjust_lr_fn"] for group in parts["muon"].param_groups} == {"match_rms_adamw"}


def test_weight_decay_spares_vectors() -> None:
    model = word_policy().model
    for name in ("muon", "adamw"):
        optimiser = build_optimizer(model, OptimConfig(name=name, weight_decay=0.1))  # type: ignore[arg-type]
        for part in optimiser._parts.values():
            for group in part.param_groups:
                for parameter in group["params"]:
                    assert (group["weight_decay"] > 0) == (parameter.ndim == 2)


def test_the_rate_of_a_step_does_not_depend_on_the_steps_before() -> None:
    rates = []
    for steps in (range(5), (4,)):
        model = word_policy().model
        optimiser = build_optimizer(model, OptimConfig(lr=0.5, adamw_lr=0.25))
        for step in steps:
            for parameter in model.parameters():
                parameter.grad = torch.zeros_like(parameter)
            optimiser.step(step, 10)
        rates.append([g["lr"] for part in optimiser._parts.values() for g in part.param_groups])
    assert rates[0] == rates[1]
    assert rates[0][0] == 2 * rates[0][1]


def test_frozen_weights_are_left_out_and_a_frozen_model_is_refused() -> None:
    model = word_policy().model
    model.model.norm.weight.requires_grad_(False)
    optimiser = build_optimizer(model, OptimConfig())
    assert all(p is not model.model.norm.weight for p in optimiser.parameters)
    model.requires_grad_(False)
    with pytest.raises(InputError, match="requires a gradient"):
        build_optimizer(model, OptimConfig())


def test_the_state_of_another_optimiser_is_refused() -> None:
    model = word_policy().model
    muon, adamw = (build_optimizer(model, OptimConfig(name=n)) for n in ("muon", "adamw"))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"parts .* instead"):
        adamw.load_state_dict(muon.state_dict())
