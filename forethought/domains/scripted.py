"""What synthetic worlds share: trajectories of a scripted policy, and a tiny first model."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from forethought.domains import Domain
from forethought.hindsight.trajectory import Trajectory, from_rollout
from forethought.rollout.backend import Backend
from forethought.rollout.engine import EngineConfig, Start, run_rollouts_sync
from forethought.schema import RunConfig
from forethought.types import Choice, Task, TrainingSequence
from forethought.worlds.splits import SPLIT_STARTS, TASKS_A_WORLD

if TYPE_CHECKING:
    from forethought.training.policy import Policy

BASE_OFFSET = 200_000  # tasks of base training lie behind those of stages 0 and 3


class ScriptedSource(Domain, Protocol):
    """A synthetic world whose tasks a scripted policy plays."""

    @property
    def seed(self) -> int:
        """Of the run; keys the noise of the policy."""
        ...

    @property
    def engine(self) -> EngineConfig:
        """Bounds of an episode."""
        ...


def numbered_tasks(source: Domain, split: str, num: int, offset: int) -> list[Task]:
    """Tasks number `offset` to `offset + num - 1` of a split, `TASKS_A_WORLD` a world."""
    first, last = offset // TASKS_A_WORLD, -(-(offset + num) // TASKS_A_WORLD)
    start = SPLIT_STARTS[split]
    tasks = source.tasks_of_worlds(range(start + first, start + last), None)
    skip = offset - first * TASKS_A_WORLD
    return tasks[skip : skip + num]


def choice_of(values: Mapping[str, float], first: str) -> Choice:
    """The first route taken among the values of all first routes; 0 where it is none of them."""
    return Choice(
        chosen=values.get(first, 0.0),
        mean=sum(values.values()) / max(len(values), 1),
        best=max(values.values(), default=0.0),
    )


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


def base_episodes(
    source: ScriptedSource, trajectories: Iterator[Trajectory], tokens: int, tokenizer: Any
) -> list[TrainingSequence]:
    """Trajectories without blocks as training sequences, until `tokens` tokens were made."""
    from forethought.hindsight.corpus import CorpusBuilder

    builder = CorpusBuilder(
        text_format=source.text_format, tokenizer=tokenizer, writer=source.writer
    )
    episodes: list[TrainingSequence] = []
    made = 0
    for trajectory in trajectories:
        if made >= tokens:
            break
        episodes.append(builder.imitation(trajectory).sequence)
        made += len(episodes[-1].ids)
    return episodes


def mixed(sequences: Sequence[TrainingSequence], seed: int) -> list[TrainingSequence]:
    """The sequences in a seeded random order."""
    order = list(sequences)
    random.Random(f"base/{seed}").shuffle(order)
    return order
