"""Workbook as a domain: sums by seed, tools with bounded fuel, the wanderer's trajectories."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from forethought.domains.scripted import (
    BASE_OFFSET,
    base_episodes,
    choice_of,
    mixed,
    numbered_tasks,
    tiny_policy,
    wander,
)
from forethought.domains.workbook_base import drills
from forethought.envs.maths import Workbook
from forethought.hindsight.trajectory import Trajectory
from forethought.hindsight.workbook_writer import WorkbookWriter
from forethought.hindsight.writer import Writer
from forethought.rollout.engine import EngineConfig
from forethought.rollout.render import TextFormat
from forethought.schema import RunConfig
from forethought.types import Rollout, Task, TrainingSequence, Truth
from forethought.worlds.workbook.law import Law, law, tasks_of_world
from forethought.worlds.workbook.oracle import WorkbookOracle, WorkbookTracker
from forethought.worlds.workbook.physics import parse_loop, read_shown
from forethought.worlds.workbook.routes import Call
from forethought.worlds.workbook.text import parse_question
from forethought.worlds.workbook.tokens import PIECES, vocabulary

if TYPE_CHECKING:
    from forethought.training.policy import Policy


def workbook_tokenizer() -> Any:
    """The word-level tokenizer of the world, the words of the free-text headings included."""
    from forethought.foresight.templates import template_words
    from forethought.training.tiny import build_word_tokenizer

    words = vocabulary()
    words += [word for word in template_words() if word not in words]
    return build_word_tokenizer(words, pieces=PIECES)


def workbook_format() -> TextFormat:
    """The text of workbook: bare questions, a word-level vocabulary."""
    return TextFormat(name="workbook", style="maths", spaced=True)


@dataclass(frozen=True, kw_only=True)
class WorkbookDomain:
    """One law, all its worlds."""

    law: Law
    seed: int
    engine: EngineConfig
    env_name: str = "workbook"
    imitate_failures: bool = True  # the wanderer tries all routes alike
    text_format: TextFormat = field(default_factory=workbook_format)

    @classmethod
    def from_config(cls, config: RunConfig) -> WorkbookDomain:
        """The domain of a configuration."""
        bounds = config.rollout
        return cls(
            law=law(config.law_seed),
            seed=config.seed,
            text_format=replace(workbook_format(), old_blocks=bounds.old_blocks),
            engine=EngineConfig(
                max_turns=bounds.max_turns,
                max_context_tokens=bounds.max_context_tokens,
                max_observation_tokens=bounds.max_observation_tokens,
            ),
        )

    @property
    def writer(self) -> Writer:
        """The rule-based writer."""
        return WorkbookWriter()

    def tasks(self, split: str, num: int, *, offset: int = 0) -> list[Task]:
        """Tasks number `offset` to `offset + num - 1` of a split, five a world."""
        return numbered_tasks(self, split, num, offset)

    def tasks_of_worlds(self, seeds: range, num: int | None) -> list[Task]:
        """All tasks of the named worlds, or the first `num`."""
        found = (task for seed in seeds for task in tasks_of_world(self.law, seed))
        return list(itertools.islice(found, num))

    def make_env(self) -> Any:
        """The two tools with the calls that a task's row allows."""
        return Workbook()

    def trajectories(self, num: int, tokenizer: Any, *, split: str = "train") -> list[Trajectory]:
        """Episodes of the wanderer, failures kept, through the real engine and tools."""
        return list(itertools.islice(self.wander(tokenizer, offset=0, split=split), num))

    def wander(self, tokenizer: Any, *, offset: int, split: str = "train") -> Iterator[Trajectory]:
        """Endless trajectories of the wanderer over the tasks from `offset` on."""
        from forethought.evals.baselines import workbook_backend

        backend = workbook_backend("wanderer", tokenizer)
        return wander(self, backend, tokenizer, offset=offset, split=split)

    def entities(self) -> tuple[str, ...]:
        """There are no names to give away; numbers are seen by the leak filter itself."""
        return ()

    def truth(self, rollout: Rollout) -> Truth:
        """The wanderer's success probabilities, what was copied, and the first choice."""
        facts = parse_question(rollout.task.question)
        oracle = WorkbookOracle(facts)
        tracker = WorkbookTracker(oracle)
        known = {str(facts.start)}
        values: list[float | None] = []
        copied: list[bool | None] = []
        first = ""
        for turn in rollout.turns:
            values.append(tracker.p)
            action = turn.parsed.action
            copied.append(None)
            if action is None or action.kind == "answer":
                continue
            loop = parse_loop(action.text) if action.kind == "loop" else None
            copied[-1] = None if loop is None else str(loop.start) in known
            printed = read_shown(turn.observation)
            tracker.step(Call(action.kind, action.text), printed)
            known.add(printed)
            first = first or tracker.last_route
        return Truth(
            p=tuple(values), copied=tuple(copied), choice=choice_of(oracle.first_values(), first)
        )


def base_model(config: RunConfig, domain: WorkbookDomain) -> tuple[Policy, list[TrainingSequence]]:
    """A tiny model with random weights, and its first corpus in order: drills, then episodes."""
    tokenizer = workbook_tokenizer()
    section = config.base
    wandered = domain.wander(tokenizer, offset=BASE_OFFSET)
    episodes = base_episodes(domain, wandered, section.episode_tokens, tokenizer)
    corpus = list(drills(section.drill_tokens, tokenizer, config.seed))
    return tiny_policy(config, tokenizer), corpus + mixed(episodes, config.seed)
