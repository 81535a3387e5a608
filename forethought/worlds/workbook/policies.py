"""Scripted policies of the workbook world. They act from text.

* wanderer: any route that fits the calls left; after a failure any unused one that fits.
* reactive: direct, halves, thirds, closed, the next on a failure; does not look at the budget.
* first-link: as reactive, without the routes whose first call it knows to fail.
* link-wise: leaves out every route whose next call it knows to fail, among those that fit.
* planner: a route that works and fits, by running all of them.

They answer what was printed last, or "none" when nothing is left to try.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

from forethought.types import Action
from forethought.worlds.steps import GIVE_UP, ScriptedStep, answer_step
from forethought.worlds.workbook.physics import FAILURES, read_shown
from forethought.worlds.workbook.routes import (
    Call,
    follow,
    need,
    next_call,
    prints_of,
    routes_of,
)
from forethought.worlds.workbook.text import QuestionFacts, parse_question


class WorkbookPolicy(ABC):
    """Follows a route to its end or to a failure; a subclass chooses which."""

    name = ""

    facts: QuestionFacts
    rng: random.Random
    unused: list[str]
    calls: int  # calls left
    current: str | None
    numbers: tuple[str, ...]  # what the current route has printed

    def start(self, question: str, rng: random.Random) -> None:
        """Begins an episode; whatever is random comes from `rng`."""
        self.facts = parse_question(question)
        self.rng = rng
        self.unused = list(routes_of(self.facts))
        self.calls = self.facts.calls
        self.current, self.numbers = None, ()

    def act(self, observation: str | None) -> ScriptedStep:
        """The next turn, after the reply to the last one (None at the start)."""
        if observation is not None:
            self._read(read_shown(observation))
        if self.current is not None and next_call(self.facts, self.current, self.numbers) is None:
            return answer_step(self.numbers[-1], self.current)
        if self.current is None:
            self.current = self.choose() if self.calls > 0 else None
            if self.current is None:
                return answer_step(GIVE_UP, "")
            self.unused.remove(self.current)
        call = next_call(self.facts, self.current, self.numbers)
        assert call is not None, "every route begins with a call"
        self.calls -= 1
        # What the call goes on from, as a thought of atlas names the entity. Account, then amount,
        # then call: three easy copies in place of a hard one.
        of = self.numbers[-1] if self.numbers else f"{self.facts.asked} {self.facts.start}"
        return ScriptedStep(
            think=f"{self.current} {of}",
            action=Action(kind=call.tool, text=call.text),
            route=self.current,
        )

    @abstractmethod
    def choose(self) -> str | None:
        """The unused route to begin now, or none."""

    def _fitting(self) -> list[str]:
        return [name for name in self.unused if need(self.facts, name) <= self.calls]

    def _read(self, printed: str) -> None:
        if printed in FAILURES:
            self.current, self.numbers = None, ()
        else:
            self.numbers = (*self.numbers, printed)


class Wanderer(WorkbookPolicy):
    """The only source of training trajectories."""

    name = "wanderer"

    def choose(self) -> str | None:
        """Any unused route that fits."""
        fitting = self._fitting()
        return self.rng.choice(fitting) if fitting else None


class Reactive(WorkbookPolicy):
    """Knows nothing and looks at nothing but failures."""

    name = "reactive"

    def choose(self) -> str | None:
        """The next route in order."""
        return self.unused[0] if self.unused else None


class FirstLink(Reactive):
    """Knows what the first call of each route prints."""

    name = "first-link"

    def start(self, question: str, rng: random.Random) -> None:
        """Begins with the routes whose first call prints a number, then the others."""
        super().start(question, rng)
        self.unused.sort(key=lambda name: _first_fails(self.facts, name))


class LinkWise(WorkbookPolicy):
    """Knows what the first call of each route prints, and counts calls."""

    name = "link-wise"

    def choose(self) -> str | None:
        """The first route in order that fits and does not fail at once."""
        good = [name for name in self._fitting() if not _first_fails(self.facts, name)]
        return good[0] if good else None


class Planner(WorkbookPolicy):
    """Runs every route before it makes a call."""

    name = "planner"

    def choose(self) -> str | None:
        """The first route in order that fits and works; else the first that fits."""
        fitting = self._fitting()
        working = [name for name in fitting if follow(self.facts, name).result is not None]
        return next(iter(working or fitting), None)


POLICIES: Mapping[str, Callable[[], WorkbookPolicy]] = {
    policy.name: policy for policy in (Wanderer, Reactive, FirstLink, LinkWise, Planner)
}
"""Name -> maker."""


def _first_fails(facts: QuestionFacts, name: str) -> bool:
    return follow(facts, name).prints[0] in FAILURES


def simulate(
    question: str, answers: tuple[str, ...], policy: WorkbookPolicy, rng: random.Random
) -> bool:
    """Whether one episode without model or environment ends in a right answer."""
    policy.start(question, rng)
    budget, made = policy.facts.calls, 0
    observation: str | None = None
    while True:
        step = policy.act(observation)
        if step.action.kind == "answer":
            return step.action.text in answers
        if made == budget:
            return False
        made += 1
        observation = prints_of(Call(step.action.kind, step.action.text))
