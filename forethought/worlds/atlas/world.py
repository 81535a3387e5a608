"""Worlds: five tasks and one corpus, every fact drawn anew by the law from the world's seed.

Public: pages and tasks. Hidden: which pages are missing or wrong; `truth_of` hands that to tests
and oracles, and nothing else of the package may ask for it.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from forethought.errors import InputError
from forethought.types import Task
from forethought.worlds.atlas.law import (
    Law,
    draw_question,
    is_composed,
)
from forethought.worlds.atlas.law import law as law_of
from forethought.worlds.atlas.text import (
    PageFacts,
    QuestionFacts,
    Route,
    render_page,
    render_question,
)
from forethought.worlds.atlas.tokens import NAMES, REGIONS, RELATIONS
from forethought.worlds.splits import TRAINING_SEEDS, split_of

CORPUS_PAGES = 45  # by-standers' pages fill the corpus up to this
SHARED_NAME_RATE = 0.23  # of later entities, with `namesakes`: about 20 % of names are then shared

MAX_ATTEMPTS = 20  # sub-seeds of a world; with five tasks the first about always serves

_BY_TYPE = {
    kind: tuple(name for name, types in RELATIONS.items() if types[0] == kind) for kind in "PFT"
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One document of a world's corpus. The title is empty: a page says all in its text."""

    id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkTruth:
    """What was drawn for one link that the law laid down. Hidden."""

    task: int
    route: str
    index: int  # link of the route, from 0
    relation: str
    subject: str
    region: str  # of the subject
    exists: bool
    stale: bool
    wrong: bool  # the page names a wrong object
    on_path: bool  # the subject is right, not met after a wrong turn


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldTruth:
    """The hidden draw of a world, for tests and oracles only."""

    answers: tuple[str, ...]
    decoys: tuple[str, ...]
    links: tuple[LinkTruth, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldTask:
    """A task together with its world's pages by (relation, subject), for fast simulation."""

    task: Task
    pages: Mapping[tuple[str, str], str]  # texts of several pages are joined with " ; "


@dataclass(frozen=True, slots=True)
class _Entity:
    name: str
    region: str


class _NamesSpentError(Exception):
    """A draw needed more names than there are."""


class World:
    """Tasks and pages of one seed; the same law and seed give the same bytes."""

    __slots__ = ("_truth", "facts", "law", "pages", "seed", "split", "tasks")

    def __init__(
        self,
        law: Law,
        world_seed: int,
        num_tasks: int = 5,
        *,
        namesakes: bool = False,
        one_link: bool = False,
    ) -> None:
        """Draws the world.

        Args:
            law: the physics.
            world_seed: decides every fact, and the split.
            num_tasks: tasks that share the corpus; names suffice for about five.
            namesakes: a fifth of the names are shared by two entities in different regions.
            one_link: a single route of one link a task, for tests.
        """
        self.law, self.seed, self.split = law, world_seed, split_of(world_seed)
        builder = _build(law, world_seed, num_tasks, namesakes=namesakes, one_link=one_link)
        prefix = f"atlas-{law.name}-W{world_seed:06d}"
        self.facts: tuple[QuestionFacts, ...] = tuple(builder.questions)
        self.pages: tuple[Page, ...] = tuple(
            Page(id=f"{prefix}-p{number:02d}", title="", text=render_page(page))
            for number, page in enumerate(builder.pages)
        )
        self.tasks: tuple[Task, ...] = tuple(
            Task(
                id=f"{prefix}-{number}",
                question=render_question(facts),
                answers=(answer,),
                kind="qa",
                split=self.split,
                world_seed=world_seed,
                columns={"budget": facts.budget, "composed": is_composed(law, facts)},
            )
            for number, (facts, answer) in enumerate(zip(self.facts, builder.answers, strict=True))
        )
        self._truth = WorldTruth(
            answers=tuple(builder.answers),
            decoys=tuple(builder.decoys),
            links=tuple(builder.links),
        )

    def playable(self) -> list[WorldTask]:
        """The tasks with an exact look-up of the world's pages."""
        pages: dict[tuple[str, str], str] = {}
        for page in self.pages:
            words = page.text.split()
            key = (words[0], words[3])
            pages[key] = f"{pages[key]} ; {page.text}" if key in pages else page.text
        return [WorldTask(task=task, pages=pages) for task in self.tasks]


@lru_cache(maxsize=512)
def world(law: Law, world_seed: int) -> World:
    """The world of a seed with the default switches, kept for a while."""
    return World(law, world_seed)


def worlds(
    law_seed: int,
    seeds: Iterable[int],
    *,
    identical: bool = False,
    num_tasks: int = 5,
    namesakes: bool = False,
    one_link: bool = False,
) -> Iterator[World]:
    """The worlds of a law, one a seed, in the given order; `identical`: the negative control."""
    law = law_of(law_seed, identical)
    return (World(law, seed, num_tasks, namesakes=namesakes, one_link=one_link) for seed in seeds)


def tasks_of(world: World) -> list[Task]:
    """The world's tasks as every part of forethought reads them."""
    return list(world.tasks)


def truth_of(world: World) -> WorldTruth:
    """The hidden draw. Only tests and oracles may look: no policy, column or reply holds it."""
    return world._truth


def _build(
    law: Law, world_seed: int, num_tasks: int, *, namesakes: bool, one_link: bool
) -> _Builder:
    """Draws a world; out of names (about never) it begins again."""
    for attempt in range(MAX_ATTEMPTS):
        rng = random.Random(f"atlas-world/{law.seed}/{world_seed}/{attempt}")
        builder = _Builder(law, rng, namesakes)
        try:
            for _ in range(num_tasks):
                builder.add_task(world_seed in TRAINING_SEEDS, one_link)
        except _NamesSpentError:
            continue
        builder.add_bystanders()
        rng.shuffle(builder.pages)  # so that ids and order tell nothing
        return builder
    raise InputError(
        "atlas world",
        got=f"num_tasks = {num_tasks}",
        expected=f"as few tasks as {len(NAMES)} names suffice for",
        next_step="use 5 tasks a world and more worlds",
    )


class _Builder:
    """The growing world: names left, pages, hidden draws."""

    def __init__(self, law: Law, rng: random.Random, namesakes: bool) -> None:
        self.law, self.rng, self.namesakes = law, rng, namesakes
        self.names = list(NAMES)
        rng.shuffle(self.names)
        self.once: list[_Entity] = []  # entities whose name may still be shared
        self.pages: list[PageFacts] = []
        self.links: list[LinkTruth] = []
        self.questions: list[QuestionFacts] = []
        self.answers: list[str] = []
        self.decoys: list[str] = []

    def add_task(self, training: bool, one_link: bool) -> None:
        start_name = self._name()
        facts = draw_question(
            self.law, self.rng, training=training, one_link=one_link, start=start_name
        )
        answer, decoy = (_Entity(self._name(), self.rng.choice(REGIONS)) for _ in range(2))
        for letter, route in facts.routes:
            self._lay(_Entity(start_name, facts.region), letter, route, (answer, decoy))
        self.questions.append(facts)
        self.answers.append(answer.name)
        self.decoys.append(decoy.name)

    def add_bystanders(self) -> None:
        """Fills the corpus with pages of entities that no task speaks of, by the same law."""
        while len(self.pages) < CORPUS_PAGES and len(self.names) >= 2:
            kind = self.rng.choice("PFT")
            subject = _Entity(self._name(), self.rng.choice(REGIONS))
            while len(self.pages) < CORPUS_PAGES and self.names:
                relation = self.rng.choice(_BY_TYPE[kind])
                if self.rng.random() < self.law.exists(relation, subject.region):
                    onward = self._onward_entity(relation, subject.region)
                    self._print(relation, subject, onward)
                    subject, kind = onward, RELATIONS[relation][1]

    def _lay(
        self, start: _Entity, letter: str, route: Route, ends: tuple[_Entity, _Entity]
    ) -> None:
        """Lays a route down: every link of the right path, and of the path after a wrong turn."""
        heads = [(start, True)]
        for index, relation in enumerate(route):
            last = index == len(route) - 1
            onward: list[tuple[_Entity, bool]] = []
            for subject, right in heads:
                region = subject.region
                exists = self.rng.random() < self.law.exists(relation, region)
                certain = self.law.right(relation, region)
                wrong = exists and certain < 1.0 and right and self.rng.random() >= certain
                true_end = ends[0] if right else ends[1]
                target = true_end if last else self._onward_entity(relation, region)
                onward.append((target, right))
                if wrong:
                    target = ends[1] if last else self._onward_entity(relation, region)
                    onward.append((target, False))
                if exists:
                    self._print(relation, subject, target)
                self.links.append(
                    LinkTruth(
                        task=len(self.questions),
                        route=letter,
                        index=index,
                        relation=relation,
                        subject=subject.name,
                        region=region,
                        exists=exists,
                        stale=certain < 1.0,
                        wrong=wrong,
                        on_path=right,
                    )
                )
            heads = onward

    def _print(self, relation: str, subject: _Entity, target: _Entity) -> None:
        self.pages.append(
            PageFacts(
                relation=relation,
                subject_region=subject.region,
                sign=self.law.sign(relation, subject.region),
                subject=subject.name,
                object=target.name,
                object_region=target.region,
            )
        )

    def _onward_entity(self, relation: str, region: str) -> _Entity:
        """A new entity where the flow puts it; with `namesakes` it may bear a used name."""
        weights = self.law.next_regions(relation, region)
        place = self.rng.choices([p for _, p in weights], [w for w, _ in weights])[0]
        if self.namesakes and self.rng.random() < SHARED_NAME_RATE:
            other = next((e for e in self.once if e.region != place), None)
            if other is not None:
                self.once.remove(other)
                return _Entity(other.name, place)
        entity = _Entity(self._name(), place)
        if self.namesakes:
            self.once.append(entity)
        return entity

    def _name(self) -> str:
        if not self.names:
            raise _NamesSpentError
        return self.names.pop()
