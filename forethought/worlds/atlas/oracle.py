"""Exact success probabilities of the atlas world, from the law and public information only.

A value is a pair (A, B): with c the probability that the path so far is right, success = c A + B.
For open routes R, links left (r, ..), region g of the entity at hand and budget b:

    W(R, (), ..)         = (1, 0)
    W(R, (r, ..), g, b)  = p E_g'[(rho A', B')] + (1 - p) (0, S(R, b - 1))
    S(R, b)              = mean (wanderer) or max (planner) of A + B over the routes that fit b

p = P(page exists), rho = P(it names the right object). A new route starts at c = 1. Source: our own
derivation. The flow of regions does not depend on R or b, so W unrolls to
A = P(all links found and right), B = sum_i P(first miss at link i) S(R, b - i); the chain's
A and P(first miss at i) are memoised per (links left, region) and serve every task of the law.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from forethought.worlds.atlas.text import (
    PageFacts,
    QuestionFacts,
    Route,
    parse_pages,
    parse_query,
    parse_question,
)

if TYPE_CHECKING:
    from forethought.worlds.atlas.law import Law

Mode = Literal["wanderer", "planner"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OracleState:
    """Where an episode stands, as far as public information tells."""

    unused: tuple[str, ...]  # letters of the routes not begun, in listed order
    current: str | None  # letter of the route under way; None before the first and after a miss
    rest: Route  # its links left; () with a current route: its answer has been read
    region: str  # of the entity at hand
    budget: int  # searches left
    c: float  # P(the path so far is right | all that was seen)


class Oracle:
    """Success probability of every state under the wanderer or under the planner.

    The planner's value is the maximum over the choice of route at the start and after every miss.
    """

    def __init__(self, law: Law, mode: Mode = "wanderer") -> None:
        self.law = law
        self.mode: Mode = mode
        self._chains: dict[tuple[Route, str], tuple[float, tuple[float, ...]]] = {}

    def chain(self, links: Route, region: str) -> tuple[float, tuple[float, ...]]:
        """A chain without budget: (P(all found and right), [P(first miss at link i)])."""
        if not links:
            return 1.0, ()
        known = self._chains.get((links, region))
        if known is not None:
            return known
        found = self.law.exists(links[0], region)
        success, misses = 0.0, [0.0] * (len(links) - 1)
        for weight, place in self.law.next_regions(links[0], region):
            later, later_misses = self.chain(links[1:], place)
            success += weight * later
            for index, miss in enumerate(later_misses):
                misses[index] += weight * miss
        value = (
            found * self.law.right(links[0], region) * success,
            (1.0 - found, *(found * miss for miss in misses)),
        )
        self._chains[links, region] = value
        return value

    def pair(
        self, links: Route, region: str, others: Sequence[Route], start: str, budget: int
    ) -> tuple[float, float]:
        """W: the pair (A, B) of following `links` from `region`, `others` unused at region `start`.

        Links that do not fit the budget cannot succeed (A = 0), but may miss in time.
        """
        right, misses = self.chain(links, region)
        again = sum(
            miss * self.choice(others, start, budget - spent)
            for spent, miss in enumerate(misses, start=1)
            if spent < budget
        )
        return (right if len(links) <= budget else 0.0), again

    def choice(self, routes: Sequence[Route], start: str, budget: int) -> float:
        """S: the value of choosing among `routes`, all from region `start`."""
        values = []
        for index, route in enumerate(routes):
            if len(route) <= budget:
                others = (*routes[:index], *routes[index + 1 :])
                values.append(sum(self.pair(route, start, others, start, budget)))
        if not values:
            return 0.0
        return max(values) if self.mode == "planner" else sum(values) / len(values)

    def question_value(self, facts: QuestionFacts) -> float:
        """The value at the start of an episode."""
        return self.choice([route for _, route in facts.routes], facts.region, facts.budget)

    def first_values(self, facts: QuestionFacts) -> dict[str, float]:
        """Letter -> value of choosing this route first (routes that fit the budget)."""
        state = start_state(facts)
        values = {letter: self.route_value(facts, state, letter) for letter, _ in facts.routes}
        fitting = {letter for letter, route in facts.routes if len(route) <= facts.budget}
        return {k: v for k, v in values.items() if v is not None and k in fitting}

    def value(self, facts: QuestionFacts, state: OracleState) -> float:
        """Success probability of a state. An unfinished route that no longer fits is given up."""
        unused = [facts.route(letter) for letter in state.unused]
        if state.budget < 0:
            return 0.0
        if state.current is not None and not state.rest:
            return state.c
        if state.current is None or len(state.rest) > state.budget:
            return self.choice(unused, facts.region, state.budget)
        right, again = self.pair(state.rest, state.region, unused, facts.region, state.budget)
        return state.c * right + again

    def route_value(self, facts: QuestionFacts, state: OracleState, letter: str) -> float | None:
        """The value of going on with a named route until its answer or a miss.

        None where the route is unknown or closed. Naming a new route abandons the current one.
        """
        if state.budget < 0:
            return None
        if letter == state.current:
            if not state.rest:
                return state.c
            links, region, c = state.rest, state.region, state.c
        elif letter in state.unused:
            links, region, c = facts.route(letter), facts.region, 1.0
        else:
            return None
        others = [facts.route(other) for other in state.unused if other != letter]
        right, again = self.pair(links, region, others, facts.region, state.budget)
        return c * right + again


def start_state(facts: QuestionFacts) -> OracleState:
    """The state before the first search."""
    return OracleState(
        unused=tuple(letter for letter, _ in facts.routes),
        current=None,
        rest=(),
        region=facts.region,
        budget=facts.budget,
        c=1.0,
    )


def choice_gain(oracle: Oracle, choices: Iterable[tuple[QuestionFacts, str]]) -> float | None:
    """(value of the chosen first route - mean) / (best - mean), each summed over tasks.

    0 = chance, 1 = always the best. A route that does not fit counts as 0. None where all routes
    of all tasks are worth the same.
    """
    gained = possible = 0.0
    for facts, letter in choices:
        values = oracle.first_values(facts)
        if not values:
            continue
        mean = sum(values.values()) / len(values)
        gained += values.get(letter, 0.0) - mean
        possible += max(values.values()) - mean
    return gained / possible if possible > 1e-12 else None


class StateTracker:
    """Follows an episode from its public texts: question, queries, replies.

    An on-route query asks for the next link of a route from an entity that some page has shown.
    Any other query spends a search and nothing else; no wanderer would make it, so `step` answers
    None for it. Beginning a new route closes the one under way. A reply's other page may show an
    entity of another route; a policy may jump ahead by it, but it does not enter p, which is the
    wanderer's and stays calibrated: the wanderer never looks at that page.
    """

    def __init__(self, oracle: Oracle, question: str) -> None:
        self.oracle = oracle
        self.facts = parse_question(question)
        self.state = start_state(self.facts)
        self.on_route = True
        # Entities at hand: (letter, links done) -> (name, region, c).
        self._known = {
            (letter, 0): (self.facts.start, self.facts.region, 1.0)
            for letter, _ in self.facts.routes
        }

    @property
    def p(self) -> float | None:
        """Success probability before the next action; None right after a query off all routes."""
        return self.oracle.value(self.facts, self.state) if self.on_route else None

    def value_of(self, letter: str) -> float | None:
        """The value of going on with a named route; None for one unknown or closed."""
        return self.oracle.route_value(self.facts, self.state, letter)

    def step(self, query: str, observation: str) -> float | None:
        """Takes one search and its reply; returns `p` after it."""
        pages = parse_pages(observation)
        asked = parse_query(query)
        place = self._place(asked) if asked else None
        self._learn(pages)
        self.on_route = place is not None
        self.state = replace(self.state, budget=self.state.budget - 1)
        if place is not None:
            self._move(*place)
        return self.p

    def _place(self, asked: tuple[str, str]) -> tuple[str, int] | None:
        """The open (route, link) that the query asks for; the route under way comes first."""
        state = self.state
        for letter in (*((state.current,) if state.current else ()), *state.unused):
            route = self.facts.route(letter)
            done = len(route) - len(state.rest) if letter == state.current else 0
            for index in range(done, len(route)):
                entity = self._known.get((letter, index))
                if entity is not None and (route[index], entity[0]) == asked:
                    return letter, index
        return None

    def _learn(self, pages: list[PageFacts]) -> None:
        """Notes the entities that the pages show; again, as long as one page explains another."""
        new = True
        while new:
            new = False
            for letter, route in self.facts.routes:
                for index, relation in enumerate(route):
                    entity = self._known.get((letter, index))
                    if entity is None or (letter, index + 1) in self._known:
                        continue
                    page = find_page(pages, relation, entity[0], entity[1])
                    if page is not None:
                        c = entity[2] * self.oracle.law.right(relation, entity[1])
                        self._known[letter, index + 1] = (page.object, page.object_region, c)
                        new = True

    def _move(self, letter: str, index: int) -> None:
        unused = tuple(other for other in self.state.unused if other != letter)
        entity = self._known.get((letter, index + 1))
        if entity is None:
            self.state = replace(
                self.state, unused=unused, current=None, rest=(), region=self.facts.region, c=1.0
            )
            return
        rest = self.facts.route(letter)[index + 1 :]
        self.state = replace(
            self.state, unused=unused, current=letter, rest=rest, region=entity[1], c=entity[2]
        )


def find_page(
    pages: Sequence[PageFacts], relation: str, subject: str, region: str
) -> PageFacts | None:
    """The page on `relation` of `subject`, who lies in `region`; None = a miss."""
    for page in pages:
        if (page.relation, page.subject, page.subject_region) == (relation, subject, region):
            return page
    return None


def reactive_value(oracle: Oracle, facts: QuestionFacts) -> float:
    """Exact success of the reactive policy: listed order, next on a miss, no look at the budget."""
    return _in_order(oracle, [route for _, route in facts.routes], facts.region, facts.budget)


def _in_order(oracle: Oracle, routes: Sequence[Route], region: str, budget: int) -> float:
    if not routes or budget <= 0:
        return 0.0
    right, misses = oracle.chain(routes[0], region)
    again = sum(
        miss * _in_order(oracle, routes[1:], region, budget - spent)
        for spent, miss in enumerate(misses, start=1)
    )
    return (right if len(routes[0]) <= budget else 0.0) + again


def best_link(law: Law, candidates: Sequence[tuple[Route, str]], budget: int) -> int | None:
    """The candidate (links left, region) whose next link is the likeliest to be found and right.

    Only candidates that fit the budget; ties go to fewer links left, then to the earlier one.
    """
    best, best_key = None, (0.0, 0)
    for index, (links, region) in enumerate(candidates):
        if len(links) <= budget:
            key = (law.exists(links[0], region) * law.right(links[0], region), -len(links))
            if best is None or key > best_key:
                best, best_key = index, key
    return best


def link_wise_value(law: Law, facts: QuestionFacts) -> float:
    """Exact success of the link-wise policy (`best_link` at every step, also mid-route)."""
    routes = tuple(route for _, route in facts.routes)
    memo: dict[tuple[tuple[Route, ...], Route, str, int], tuple[float, float]] = {}

    def follow(
        unused: tuple[Route, ...], rest: Route | None, region: str, budget: int
    ) -> tuple[float, float]:
        """The pair (A, B); `rest` is None where no route is under way."""
        if rest == ():
            return 1.0, 0.0
        key = (unused, rest or (), region, budget)
        if key in memo:
            return memo[key]
        under_way = [(rest, region)] if rest else []
        candidates = under_way + [(route, facts.region) for route in unused]
        chosen = best_link(law, candidates, budget)
        if chosen is None:
            return 0.0, 0.0
        fresh = chosen >= len(under_way)
        links, place = candidates[chosen]
        left = tuple(r for r in unused if r != links) if fresh else unused
        found, right = law.exists(links[0], place), law.right(links[0], place)
        success, again = 0.0, (1.0 - found) * sum(follow(left, None, facts.region, budget - 1))
        for weight, onward in law.next_regions(links[0], place):
            a, b = follow(left, links[1:], onward, budget - 1)
            success += found * weight * right * a
            again += found * weight * b
        memo[key] = (0.0, success + again) if fresh else (success, again)
        return memo[key]

    return sum(follow(routes, None, facts.region, facts.budget))
