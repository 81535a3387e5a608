"""Atlas as a domain: worlds by seed, search over their pages, the wanderer's trajectories."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from forethought.domains.atlas_base import drills, pages
from forethought.domains.scripted import (
    BASE_OFFSET,
    base_episodes,
    choice_of,
    mixed,
    numbered_tasks,
    tiny_policy,
    wander,
)
from forethought.envs.search_qa import SearchQA
from forethought.foresight.templates import template_words
from forethought.hindsight.trajectory import Trajectory
from forethought.hindsight.writer import AtlasWriter, Writer
from forethought.rollout.engine import EngineConfig
from forethought.rollout.render import TextFormat
from forethought.schema import RunConfig
from forethought.tools.retrieval import BM25Retriever, Document, Retriever
from forethought.types import Rollout, Task, TrainingSequence, Truth
from forethought.worlds.atlas.law import Law, law
from forethought.worlds.atlas.oracle import Oracle, StateTracker
from forethought.worlds.atlas.text import parse_pages, parse_query, parse_question
from forethought.worlds.atlas.tokens import CONTROL, NAMES, vocabulary
from forethought.worlds.atlas.world import World, tasks_of, world
from forethought.worlds.splits import SPLIT_STARTS, TASKS_A_WORLD

if TYPE_CHECKING:
    from forethought.training.policy import Policy

KEPT_INDEXES = 256  # retrievers kept at a time
TOP_K = 2  # pages a search shows where the configuration says nothing


def atlas_format() -> TextFormat:
    """The text of atlas: bare questions, a word-level vocabulary."""
    return TextFormat(name="atlas", style="search", spaced=True)


def atlas_tokenizer() -> Any:
    """The word-level tokenizer of the world, the words of the free-text headings included."""
    from forethought.training.tiny import build_word_tokenizer

    words = [word for word in vocabulary() if word not in CONTROL]
    words += [word for word in template_words() if word not in words]
    return build_word_tokenizer(words)


@dataclass(frozen=True, kw_only=True)
class AtlasDomain:
    """One law, all its worlds."""

    law: Law
    seed: int
    top_k: int
    engine: EngineConfig
    env_name: str = "search_qa"
    imitate_failures: bool = True  # the wanderer fails by the draw of the world
    text_format: TextFormat = field(default_factory=atlas_format)
    _retrievers: dict[int, Retriever] = field(default_factory=dict)

    @classmethod
    def from_config(cls, config: RunConfig) -> AtlasDomain:
        """The domain of a configuration."""
        bounds = config.rollout
        return cls(
            law=law(config.law_seed, identical=config.data.identical_cells),
            seed=config.seed,
            top_k=bounds.top_k_documents or TOP_K,
            text_format=replace(atlas_format(), old_blocks=bounds.old_blocks),
            engine=EngineConfig(
                max_turns=bounds.max_turns,
                max_context_tokens=bounds.max_context_tokens,
                max_observation_tokens=bounds.max_observation_tokens,
            ),
        )

    @property
    def writer(self) -> Writer:
        """The rule-based writer of this law."""
        return AtlasWriter(law=self.law)

    def tasks(self, split: str, num: int, *, offset: int = 0) -> list[Task]:
        """Tasks number `offset` to `offset + num - 1` of a split, five a world."""
        return numbered_tasks(self, split, num, offset)

    def tasks_of_worlds(self, seeds: range, num: int | None) -> list[Task]:
        """All tasks of the named worlds, or the first `num`."""
        worlds = seeds if num is None else seeds[: -(-num // TASKS_A_WORLD)]
        tasks = [task for seed in worlds for task in tasks_of(self._world(seed))]
        return tasks if num is None else tasks[:num]

    def _world(self, seed: int) -> World:
        return world(self.law, seed)

    def make_env(self) -> Any:
        """Search over the pages of the world that a task's row names."""
        return SearchQA(retriever_for=self._retriever, top_k=self.top_k)

    def _retriever(self, row: Mapping[str, Any]) -> Retriever:
        seed = int(row["world_seed"])
        if seed not in self._retrievers:
            while len(self._retrievers) >= KEPT_INDEXES:
                self._retrievers.pop(next(iter(self._retrievers)))
            documents = [
                Document(id=page.id, title=page.title, text=page.text)
                for page in self._world(seed).pages
            ]
            self._retrievers[seed] = BM25Retriever(documents)
        return self._retrievers[seed]

    def trajectories(self, num: int, tokenizer: Any, *, split: str = "train") -> list[Trajectory]:
        """Episodes of the wanderer, failures kept, through the real engine and retriever."""
        return list(itertools.islice(self.wander(tokenizer, offset=0, split=split), num))

    def wander(self, tokenizer: Any, *, offset: int, split: str = "train") -> Iterator[Trajectory]:
        """Endless trajectories of the wanderer over the tasks from `offset` on."""
        from forethought.evals.baselines import scripted_backend

        backend = scripted_backend("wanderer", self.law, tokenizer)
        return wander(self, backend, tokenizer, offset=offset, split=split)

    def entities(self) -> tuple[str, ...]:
        """The names: a block must not tell one that has not been seen."""
        return NAMES

    def truth(self, rollout: Rollout) -> Truth:
        """The wanderer's exact success probabilities, what was copied, and the first choice."""
        return truth_of(self.law, rollout)

    def pages_of_training(self) -> Iterator[str]:
        """Texts of the pages of worlds that base training may read, without end."""
        first = (SPLIT_STARTS["train"] * TASKS_A_WORLD + BASE_OFFSET) // TASKS_A_WORLD
        for seed in itertools.count(first):
            for page in self._world(seed).pages:
                yield page.text


def truth_of(law: Law, rollout: Rollout) -> Truth:
    """What a law says about a rollout whose question is one of the world."""
    oracle = Oracle(law)
    tracker = StateTracker(oracle, rollout.task.question)
    values: list[float | None] = []
    first = ""
    for turn in rollout.turns:
        values.append(tracker.p)
        action = turn.parsed.action
        if action is not None and action.kind == "search":
            before = tracker.state.unused
            tracker.step(action.text, turn.observation)
            begun = [letter for letter in before if letter not in tracker.state.unused]
            first = first or (begun[0] if begun else "")
    routes = oracle.first_values(tracker.facts)
    return Truth(p=tuple(values), copied=_copied(rollout), choice=choice_of(routes, first))


def _copied(rollout: Rollout) -> tuple[bool | None, ...]:
    """For each search: its entity is the start, or the object of a page about one known."""
    known = {parse_question(rollout.task.question).start}
    marks: list[bool | None] = []
    for turn in rollout.turns:
        action = turn.parsed.action
        if action is None or action.kind != "search":
            marks.append(None)
            continue
        asked = parse_query(action.text)
        marks.append(asked is not None and asked[1] in known)
        known |= {page.object for page in parse_pages(turn.observation) if page.subject in known}
    return tuple(marks)


def base_model(config: RunConfig, domain: AtlasDomain) -> tuple[Policy, list[TrainingSequence]]:
    """A tiny model with random weights, and its first corpus in order: drills, pages, episodes."""
    tokenizer = atlas_tokenizer()
    section = config.base
    corpus = list(drills(section.drill_tokens, tokenizer, config.seed))
    later = list(pages(domain.pages_of_training(), section.page_tokens, tokenizer))
    wandered = domain.wander(tokenizer, offset=BASE_OFFSET)
    later += base_episodes(domain, wandered, section.episode_tokens, tokenizer)
    return tiny_policy(config, tokenizer), corpus + mixed(later, config.seed)
