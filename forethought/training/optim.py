"""Optimisers: Muon on hidden matrices with AdamW on the rest, or AdamW alone.

The learning rate is a pure function of (step, total steps), so a resumed run needs no scheduler
state.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from forethought.errors import InputError
from forethought.training.muon import StackedMuon


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig:
    """One optimiser and its schedule."""

    name: Literal["muon", "adamw"] = "muon"
    lr: float = 6e-3  # Muon: hidden matrices; AdamW: everything
    adamw_lr: float = 6e-3  # Muon only: embeddings, norms, head, biases
    embedding_lr: float | None = None  # embeddings and head; None: as above
    momentum: float = 0.95  # of Muon
    weight_decay: float = 0.0  # decoupled; on matrices, never on norms and biases
    betas: tuple[float, float] = (0.9, 0.95)  # of AdamW
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    warmup_fraction: float = 0.03  # share of the steps with a rising rate
    final_fraction: float = 0.1  # rate of the last step as a share of the highest


def lr_factor(config: OptimConfig, step: int, total_steps: int) -> float:
    """Learning rate of a step as a share of the highest.

    Rises linearly over the first `warmup_fraction` of the steps, then stays (`constant`) or falls
    to `final_fraction` at step `total_steps - 1`, and stays there.

    Args:
        config: the schedule.
        step: from 0.
        total_steps: at least 1.
    """
    warmup = math.ceil(config.warmup_fraction * total_steps)
    if step < warmup:
        return (step + 1) / warmup
    if config.schedule == "constant":
        return 1.0
    done = min(1.0, (step - warmup) / max(total_steps - 1 - warmup, 1))
    fall = done if config.schedule == "linear" else 0.5 * (1.0 - math.cos(math.pi * done))
    return 1.0 - (1.0 - config.final_fraction) * fall


class Optimiser:
    """One or two `torch` optimisers that step together."""

    def __init__(self, parts: Mapping[str, torch.optim.Optimizer], config: OptimConfig) -> None:
        self._parts = dict(parts)
        self._config = config
        self._peaks = {  # a loaded state overwrites the rates in the groups, never these
            name: [float(group["lr"]) for group in part.param_groups]
            for name, part in self._parts.items()
        }

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """All parameters that train, in a fixed order."""
        return [
            parameter
            for part in self._parts.values()
            for group in part.param_groups
            for parameter in group["params"]
        ]

    def step(self, step: int, total_steps: int) -> float:
        """Updates the weights at the rate of a step (from 0); returns its `lr_factor`."""
        factor = lr_factor(self._config, step, total_steps)
        for name, part in self._parts.items():
            for group, peak in zip(part.param_groups, self._peaks[name], strict=True):
                group["lr"] = peak * factor
            part.step()
        return factor

    def zero_grad(self) -> None:
        """Drops all gradients."""
        for part in self._parts.values():
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """The states of the parts by name."""
        return {name: part.state_dict() for name, part in self._parts.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes a state that `state_dict` made.

        Raises:
            InputError: it is the state of another optimiser or of other parameters.
        """
        try:
            if set(state) != set(self._parts):
                raise ValueError(f"parts {sorted(state)} instead of {sorted(self._parts)}")
            for name, part in self._parts.items():
                part.load_state_dict(state[name])
        except ValueError as error:
            raise InputError(
                "optimiser state",
                got=str(error),
                expected=f"the state of this {self._config.name} optimiser",
                next_step="resume with the optimiser and the model that wrote the checkpoint",
            ) from error


def build_optimizer(model: Any, config: OptimConfig) -> Optimiser:
    """The optimiser of a model's parameters that require a gradient.

    Muon (K. Jordan, 2024) orthogonalises the momentum of a matrix; `match_rms_adamw` scales its
    step to the size of AdamW's, so both take rates of the same order (arXiv 2502.16982). It suits
    matrices between hidden states only; embeddings, the head, norms and biases take AdamW.

    Raises:
        InputError: no parameter trains, or an unknown name.
    """
    matrices, embeddings, vectors = _kinds(model)
    if not (matrices or embeddings or vectors):
        raise InputError(
            "model",
            got="no parameter that requires a gradient",
            expected="a model that trains",
            next_step="unfreeze it",
        )
    decay = config.weight_decay
    if config.name == "adamw":
        groups = [
            _group(matrices, config.lr, decay),
            _group(embeddings, config.embedding_lr or config.lr, decay),
            _group(vectors, config.lr, 0),
        ]
        return Optimiser({"adamw": _adamw(groups, config)}, config)
    if config.name != "muon":
        raise InputError(
            "optim.name",
            got=repr(config.name),
            expected="muon | adamw",
            next_step="choose one of these",
        )
    parts: dict[str, torch.optim.Optimizer] = {}
    if matrices:
        parts["muon"] = StackedMuon(
            matrices, lr=config.lr, weight_decay=decay, momentum=config.momentum
        )
    groups = [
        _group(embeddings, config.embedding_lr or config.adamw_lr, decay),
        _group(vectors, config.adamw_lr, 0),
    ]
    if embeddings or vectors:
        parts["adamw"] = _adamw(groups, config)
    return Optimiser(parts, config)


def _kinds(
    model: Any,
) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter], list[torch.nn.Parameter]]:
    """Trainable parameters: hidden matrices, embeddings and head, everything else."""
    tables = {
        id(module.weight)
        for module in (model.get_input_embeddings(), model.get_output_embeddings())
        if module is not None
    }
    matrices: list[torch.nn.Parameter] = []
    embeddings: list[torch.nn.Parameter] = []
    vectors: list[torch.nn.Parameter] = []
    for parameter in model.parameters():  # tied ones come once
        if not parameter.requires_grad:
            continue
        if id(parameter) in tables:
            embeddings.append(parameter)
        else:
            (matrices if parameter.ndim == 2 else vectors).append(parameter)
    return matrices, embeddings, vectors


def _group(parameters: list[torch.nn.Parameter], lr: float, decay: float) -> dict[str, Any]:
    return {"params": parameters, "lr": lr, "weight_decay": decay}


def _adamw(groups: list[dict[str, Any]], config: OptimConfig) -> torch.optim.AdamW:
    used = [group for group in groups if group["params"]]
    return torch.optim.AdamW(used, betas=config.betas, fused=True)
