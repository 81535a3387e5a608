"""Scripted policies of the atlas world. They act from text, and know the law at most.

* wanderer: any route that fits the budget; after a miss any unused one that fits.
* reactive: the first listed route, the next on a miss; does not look at the budget.
* first-link: as reactive, with the routes in order of their first link by the law.
* link-wise: at every step the best link at hand, also mid-route.
* planner: the exact maximum over routes, at the start and after every miss.

They answer what they read, or "none" when nothing is left to try.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from forethought.types import Action
from forethought.worlds.atlas.law import Law
from forethought.worlds.atlas.oracle import (
    Oracle,
    OracleState,
    best_link,
    find_page,
)
from forethought.worlds.atlas.text import (
    QuestionFacts,
    Route,
    parse_pages,
    parse_question,
    render_query,
)
from forethought.worlds.atlas.world import WorldTask
from forethought.worlds.steps import GIVE_UP, ScriptedStep, answer_step


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedEpisode:
    """One attempt without model or retriever."""

    steps: tuple[ScriptedStep, ...]
    observations: tuple[str, ...]  # one a search that was answered; "" = a miss
    answer: str | None
    success: bool


class ScriptedPolicy(ABC):
    """Follows routes by reading pages; a subclass chooses which."""

    name = ""

    facts: QuestionFacts
    rng: random.Random
    unused: list[str]  # letters of the routes not begun
    budget: int  # searches left
    current: str | None  # letter of the route under way
    rest: Route  # its links left
    subject: str  # the entity at hand
    region: str

    def start(self, question: str, rng: random.Random) -> None:
        """Begins an episode; whatever is random comes from `rng`."""
        self.facts = parse_question(question)
        self.rng = rng
        self.unused = [letter for letter, _ in self.facts.routes]
        self.budget = self.facts.budget
        self._leave()

    def act(self, observation: str | None) -> ScriptedStep:
        """The next turn, after the reply to the last one (None at the start)."""
        if observation is not None:
            self._read(observation)
        if self.current is not None and not self.rest:
            return answer_step(self.subject, self.current)
        letter = self.choose() if self.budget > 0 else None
        if letter is None:
            return answer_step(GIVE_UP, "")
        if letter != self.current:
            self._leave()
            self.unused.remove(letter)
            self.current, self.rest = letter, self.facts.route(letter)
        self.budget -= 1
        return ScriptedStep(
            think=f"{letter} {self.subject}",
            action=Action(kind="search", text=render_query(self.rest[0], self.subject)),
            route=letter,
        )

    @abstractmethod
    def choose(self) -> str | None:
        """The letter of the route to follow now: the current one, an unused one, or none."""

    def _leave(self) -> None:
        self.current, self.rest = None, ()
        self.subject, self.region = self.facts.start, self.facts.region

    def _read(self, observation: str) -> None:
        page = find_page(parse_pages(observation), self.rest[0], self.subject, self.region)
        if page is None:
            self._leave()
            return
        self.subject, self.region, self.rest = page.object, page.object_region, self.rest[1:]


class Wanderer(ScriptedPolicy):
    """The only source of training trajectories: no planner trace is ever imitated."""

    name = "wanderer"

    def choose(self) -> str | None:
        """The current route, else any unused one that fits."""
        if self.current is not None:
            return self.current
        fitting = [x for x in self.unused if len(self.facts.route(x)) <= self.budget]
        return self.rng.choice(fitting) if fitting else None


class Reactive(ScriptedPolicy):
    """Knows nothing and looks at nothing but misses."""

    name = "reactive"

    def choose(self) -> str | None:
        """The current route, else the next listed one."""
        return self.current or (self.unused[0] if self.unused else None)


class FirstLink(Reactive):
    """Knows the first link of each route; ties go to the shorter route."""

    name = "first-link"

    def __init__(self, law: Law) -> None:
        self.law = law

    def start(self, question: str, rng: random.Random) -> None:
        """Begins an episode with the routes in order of their first link."""
        super().start(question, rng)
        self.unused.sort(key=self._rank)

    def _rank(self, letter: str) -> tuple[float, int]:
        route, region = self.facts.route(letter), self.facts.region
        score = self.law.exists(route[0], region) * self.law.right(route[0], region)
        return -score, len(route)


class LinkWise(ScriptedPolicy):
    """Knows the link at hand of every route and leaves a route for a better link."""

    name = "link-wise"

    def __init__(self, law: Law) -> None:
        self.law = law

    def choose(self) -> str | None:
        """The route with the best next link among those that fit."""
        letters = [self.current] if self.current is not None else []
        candidates = [(self.rest, self.region)] if letters else []
        letters += self.unused
        candidates += [(self.facts.route(x), self.facts.region) for x in self.unused]
        best = best_link(self.law, candidates, self.budget)
        return None if best is None else letters[best]


class Planner(ScriptedPolicy):
    """Knows the law and maximises exactly.

    Args:
        law: the world's law.
        replan: also leave a route half-way where starting another is worth more. Off, the
            success rate is the planner oracle's value, which maximises at the start and after
            misses; on, it is a little higher.
    """

    name = "planner"

    def __init__(self, law: Law, *, replan: bool = False) -> None:
        self.law, self.replan = law, replan
        self.oracle = Oracle(law, "planner")

    def start(self, question: str, rng: random.Random) -> None:
        """Begins an episode on a right path."""
        super().start(question, rng)
        self.c = 1.0

    def choose(self) -> str | None:
        """The route of the highest value; ties go to the current one, then to the first listed."""
        if self.current is not None and not self.replan:
            return self.current
        letters = [self.current] if self.current is not None else []
        letters += [x for x in self.unused if len(self.facts.route(x)) <= self.budget]
        best, best_value = None, -1.0
        for letter in letters:
            value = self.oracle.route_value(self.facts, self._state(), letter)
            if value is not None and value > best_value + 1e-12:
                best, best_value = letter, value
        return best

    def _state(self) -> OracleState:
        return OracleState(
            unused=tuple(self.unused),
            current=self.current,
            rest=self.rest,
            region=self.region,
            budget=self.budget,
            c=self.c,
        )

    def _leave(self) -> None:
        super()._leave()
        self.c = 1.0

    def _read(self, observation: str) -> None:
        right = self.law.right(self.rest[0], self.region)
        before = self.c
        super()._read(observation)
        if self.current is not None:
            self.c = before * right


POLICIES: Mapping[str, Callable[[Law], ScriptedPolicy]] = {
    Wanderer.name: lambda _: Wanderer(),
    Reactive.name: lambda _: Reactive(),
    FirstLink.name: FirstLink,
    LinkWise.name: LinkWise,
    Planner.name: Planner,
}
"""Name -> maker; the law reaches only those policies that may know it."""


def simulate(world_task: WorldTask, policy: ScriptedPolicy, rng: random.Random) -> SimulatedEpisode:
    """One episode with an exact page look-up in place of the retriever (which shows more)."""
    task = world_task.task
    policy.start(task.question, rng)
    steps: list[ScriptedStep] = []
    observations: list[str] = []
    searches = int(task.columns["budget"])
    observation: str | None = None
    while True:
        step = policy.act(observation)
        steps.append(step)
        answer = step.action.text if step.action.kind == "answer" else None
        if answer is not None or len(observations) == searches:
            return SimulatedEpisode(
                steps=tuple(steps),
                observations=tuple(observations),
                answer=answer,
                success=answer in task.answers,
            )
        relation, subject = step.action.text.split()
        observation = world_task.pages.get((relation, subject), "")
        observations.append(observation)
