"""Two sides that take turns: their times, and a model that both run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from child import take_turns
import torch
from measured import ratio, spread

from forethought.training.policy import Policy
from forethought.training.tiny import ModelShape, build_tiny_llama
from forethought.training.trainer import Denominators, Trainer
from forethought.types import TrainingSequence

VOCABULARY = 2048
SHAPES = {  # of about 0.1, 1 and 3 million parameters with a vocabulary of 2048
    "toy": ModelShape(hidden=32, layers=2, heads=2, ffn=64),
    "1m": ModelShape(),
    "3m": ModelShape(hidden=192, layers=6, heads=6, ffn=576),
}
PAIRS = 5
SAME = 1e-5
"""By how much the losses of two sides may differ, and their gradients as a share."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What a call took."""

    cpu: float  # seconds of all threads of this process
    wall: float  # seconds


def build_model(name: str, vocabulary: int = VOCABULARY) -> Any:
    """A Llama of `SHAPES` with random weights, or a model folder; for inference until told."""
    if name in SHAPES:
        return build_tiny_llama(vocabulary, SHAPES[name], seed=0).eval()
    return Policy.load(name).model


def rounds(num: int, calls: Mapping[str, Callable[[], Any]]) -> dict[str, list[Spent]]:
    """What all calls took, `num` times each, in turns."""

    def timed(call: Callable[[], Any]) -> Spent:
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        return Spent(cpu=time.process_time() - cpu, wall=time.perf_counter() - wall)

    return take_turns(num, {name: partial(timed, call) for name, call in calls.items()})


def compared(ours: Sequence[float], peer: Sequence[float], unit: str) -> dict[str, Any]:
    """The cells `ours`, `peer` and `ratio` of a row; the caller names the peer."""
    return {
        "ours": spread(ours, unit),
        "peer": spread(peer, unit),
        "ratio": ratio(peer, ours),
    }


def gradient_of(
    trainer: Trainer, sequences: Sequence[TrainingSequence], denominators: Denominators
) -> tuple[dict[str, float], list[torch.Tensor]]:
    """What `Trainer.step` tells, and the gradient that it would step along."""
    found: list[torch.Tensor] = []

    def keep(step: int, total_steps: int) -> float:
        found.extend(p.grad.clone() for p in trainer.policy.model.parameters())
        return 0.0  # as a rate of 0: no weight has to change

    trainer.optimiser.step = keep  # type: ignore[method-assign]
    return trainer.step(sequences, denominators=denominators, step_index=0), found


def apart(mine: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor]) -> float:
    """How far two gradients are apart, as a share of the second."""
    pairs = list(zip(mine, theirs, strict=True))
    gap = sum(float((a.double() - b.double()).square().sum()) for a, b in pairs)
    size = sum(float(b.double().square().sum()) for _, b in pairs)
    return float((gap / size) ** 0.5)
