"""Guard rails of an optimiser step: a run that would go on wrongly stops, and says why."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from forethought.errors import GuardRail

_WATCHED = 256  # entries of a parameter that are compared before and after a step


def require_trained_tokens(trained: int, sources: Sequence[str]) -> None:
    """Stops on a batch in which no token and no slot has a weight.

    Raises:
        GuardRail: `trained` is 0.
    """
    if trained == 0:
        raise GuardRail(
            f"a batch of {len(sources)} sequences without a trained token ({_some(sources)}); "
            "check what its weights should be"
        )


def require_finite_loss(loss: float, sources: Sequence[str], step: int) -> None:
    """Stops on a loss that is NaN or infinite, before it reaches a weight.

    Raises:
        GuardRail: `loss` is not finite.
    """
    if not math.isfinite(loss):
        raise GuardRail(
            f"the loss of step {step} is {loss} in the micro-batch of {_some(sources)}; lower the "
            "learning rate, or look at these sequences"
        )


def require_finite_gradient(
    norm: float, named: Iterable[tuple[str, torch.nn.Parameter]], step: int
) -> None:
    """Stops on a gradient that is NaN or infinite, before it reaches a weight.

    Raises:
        GuardRail: `norm` is not finite; the first bad parameter is named.
    """
    if math.isfinite(norm):
        return
    bad = next(
        (n for n, p in named if p.grad is not None and not bool(p.grad.isfinite().all())),
        "the norm over all parameters",
    )
    raise GuardRail(
        f"the gradient of step {step} is {norm} (first in {bad}); lower the learning rate"
    )


@dataclass(frozen=True, slots=True)
class WeightWatch:
    """Remembers a few entries of every parameter, to see whether a step changes any.

    Among them is one whose gradient is not 0, if there is one, and entries that are 0 only where
    all are; the copy is small for models of any size.
    """

    entries: tuple[tuple[torch.nn.Parameter, slice | Tensor, Tensor], ...]
    # parameter, indices, values

    @classmethod
    def before(cls, parameters: Iterable[torch.nn.Parameter]) -> WeightWatch:
        """Takes down what stands in the parameters that have a gradient, before a step."""
        entries = []
        for parameter in parameters:
            if parameter.grad is None:
                continue
            step = max(1, parameter.numel() // _WATCHED)
            where: slice | Tensor = slice(None, None, step)
            weights, gradient = parameter.detach().flatten(), parameter.grad.flatten()
            # None of them may have a gradient, as of an embedding whose tokens are few.
            if not bool((gradient[where] * weights[where]).any()):
                every = torch.arange(0, len(weights), step, device=parameter.device)
                where = torch.cat([gradient.abs().argmax().unsqueeze(0), every])
            entries.append((parameter, where, weights[where].clone()))
        return cls(tuple(entries))

    def require_change(self, grad_norm: float, lr_factor: float, step: int) -> None:
        """Stops if a step with a gradient and a learning rate above 0 changed nothing.

        Raises:
            GuardRail: no watched entry differs.
        """
        if grad_norm == 0.0 or lr_factor == 0.0:
            return
        for parameter, where, old in self.entries:
            moved, live = parameter.detach().flatten()[where] != old, old != 0
            # A zero takes even an update that every other weight would round away.
            if bool((moved & live).any()) or bool(moved.any() and not live.any()):
                return
        kinds = sorted({str(parameter.dtype) for parameter, _, _ in self.entries})
        raise GuardRail(
            f"step {step} had a gradient of norm {grad_norm:.3g} and changed no weight "
            f"({', '.join(kinds)}); the learning rate is too small for this number format, or the "
            "optimiser holds other parameters than the model"
        )


def _some(sources: Sequence[str]) -> str:
    shown = [source or "?" for source in sources[:3]]
    return ", ".join(shown) + (", ..." if len(sources) > 3 else "")
