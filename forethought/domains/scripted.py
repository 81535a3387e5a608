"""What synthetic worlds share: trajectories of a scripted policy, and a tiny first model."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from forethought.config import RunConfig
from forethought.hindsight.trajectory import Trajectory, from_rollout
from forethought.rollout.backend import Backend
from forethought.rollout.engine import EngineConfig, Start, run_rollouts_sync
from forethought.rollout.render import TextFormat
from forethought.types import Task, TrainingSequence

if TYPE_CHECKING:
    from forethought.training.policy import Policy

BASE_OFFSET = 200_000  # tasks of base training lie behind those of stages 0 and 3


class ScriptedSource(Protocol):
    """A world whose tasks a scripted policy plays."""

    @property
    def seed(self) -> int:
        """Of the run; keys the noise of the policy."""
        ...

    @property
    def text_format(self) -> TextFormat:
        """Prompts, tags and stops."""
        ...

    @property
    def engine(self) -> EngineConfig:
        """Bounds of an episode."""
        ...

    def tasks(self, split: str, num: int, *, offset: int = 0) -> list[Task]:
        """Tasks of a split by number."""
        ...

    def make_env(self) -> Any:
        """A fresh environment."""
        ...


def wander(
    source: ScriptedSource,
    backend: Backend,
    tokenizer: Any,
    *,
    offset: int,
    split: str = "train",
    wave: int = 500,
) -> Iterator[Trajectory]:
    """Endless trajectories of the policy behind `backend` over the tasks from `offset` on."""
    from forethought.rewards.terms import RewardConfig, judge_rollout

    for first in itertools.count(offset, wave):
        starts = [
            Start(
                task=task,
                env=source.make_env(),
                index=0,
                noise=(source.seed, 0, first + number),
                mode="plain",
            )
            for number, task in enumerate(source.tasks(split, wave, offset=first))
        ]
        for rollout in run_rollouts_sync(
            starts, backend, source.text_format, tokenizer, source.engine
        ):
            success = judge_rollout(rollout, RewardConfig()).success == 1
            made = from_rollout(rollout, success=success, source_policy="wanderer")
            if made is not None:
                yield made


def tiny_policy(config: RunConfig, tokenizer: Any) -> Policy:
    """A model with random weights, of the shape that the configuration names."""
    from forethought.training.policy import Policy
    from forethought.training.tiny import ModelShape, build_tiny_llama

    shape = ModelShape(
        hidden=config.model.hidden,
        layers=config.model.layers,
        heads=config.model.heads,
        kv_heads=config.model.kv_heads,
        ffn=config.model.ffn,
        max_positions=config.model.max_positions,
    )
    model = build_tiny_llama(len(tokenizer), shape, seed=config.seed)
    return Policy(model=model, tokenizer=tokenizer)


def mixed(sequences: Sequence[TrainingSequence], seed: int) -> list[TrainingSequence]:
    """The sequences in a seeded random order."""
    order = list(sequences)
    random.Random(f"base/{seed}").shuffle(order)
    return order
