"""The physics of the atlas world: where objects lie, which rolls survived, which are out of date.

A law is a function of its seed and the same in training, validation and test. Worlds of one law
share nothing else: names and facts are drawn anew, so only the law can be learnt.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from forethought.worlds.atlas.oracle import Oracle, link_wise_value, reactive_value
from forethought.worlds.atlas.text import QuestionFacts, Route
from forethought.worlds.atlas.tokens import REGIONS, RELATIONS, ROUTE_LETTERS, SIGNS

FLOW = 0.85  # an object lies where the flow says, else in one of the other regions alike
EXISTS = {"kept": 0.97, "stale": 0.97, "burnt": 0.10, "even": 0.65}  # P(a page is there | state)
WRONG = {"stale": 0.65}  # P(an existing page names a wrong object | state); 0 for the others

PERSON_ROLLS = ("kept",) * 5 + ("stale",)  # states of a person's relation over the six regions
OTHER_ROLLS = ("kept",) * 2 + ("burnt",) * 3 + ("stale",)  # of a firm's or a town's relation

HELD_OUT_SHARE = 0.20
THREE_LINKS = 0.30  # share of routes with three links, the others have two
SPARE_SEARCH = 0.40  # share of tasks with one search more than the longest route needs

ACCEPTANCE_TASKS = 3_000
MIN_GAIN_OVER_REACTIVE = 0.25
MIN_GAIN_OVER_LINK_WISE = 0.09

Cell = tuple[str, str]
"""A relation and the region of its subject."""

Triple = tuple[str, str, str]
"""First relation of a route, region of its start, second relation."""

FIRST_RELATIONS = tuple(name for name, types in RELATIONS.items() if types[0] == "P")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Law:
    """Flow, sign and state of each (relation, region of the subject).

    Compared by identity: `law(seed)` returns the same object for the same seed.
    """

    seed: int
    identical: bool  # the negative control: every cell alike, so that nothing is worth foreseeing
    flows: Mapping[Cell, str]  # region where the object most likely lies
    signs: Mapping[Cell, str]
    states: Mapping[Cell, str]  # "kept" | "stale" | "burnt"; "even" in the negative control
    held_out: frozenset[Triple]  # never the beginning of a listed route in training worlds

    @property
    def name(self) -> str:
        """Short name for task ids, e.g. `L100`."""
        return f"L{self.seed}" + ("i" if self.identical else "")

    def flow(self, relation: str, region: str) -> str:
        """The region where the object most likely lies."""
        return self.flows[relation, region]

    def sign(self, relation: str, region: str) -> str:
        """The sign printed on every page of this roll."""
        return self.signs[relation, region]

    def state(self, relation: str, region: str) -> str:
        """The state of this roll: "kept" | "stale" | "burnt", or "even" in the control."""
        return self.states[relation, region]

    def exists(self, relation: str, region: str) -> float:
        """P(the page is there)."""
        return EXISTS[self.states[relation, region]]

    def right(self, relation: str, region: str) -> float:
        """P(the page names the right object | it is there); nothing on a page shows this."""
        return 1.0 - WRONG.get(self.states[relation, region], 0.0)

    def next_regions(self, relation: str, region: str) -> tuple[tuple[float, str], ...]:
        """The distribution of the object's region, as (probability, region)."""
        likely, other = self.flows[relation, region], (1.0 - FLOW) / (len(REGIONS) - 1)
        return tuple((FLOW if place == likely else other, place) for place in REGIONS)


def law(seed: int, identical: bool = False) -> Law:
    """The law of a seed: the first of its candidates that passes the acceptance test.

    Args:
        seed: the law's seed; study seed s uses law s.
        identical: draw the negative control instead (all cells alike; nothing to accept).
    """
    return _law(seed, identical)


@lru_cache(maxsize=64)
def _law(seed: int, identical: bool) -> Law:
    for candidate in itertools.count():
        drawn = draw_law(seed, candidate, identical=identical)
        if identical or accepted(drawn, random.Random(f"atlas-acceptance/{seed}/{candidate}")):
            return drawn
    raise AssertionError("unreachable")


def draw_law(seed: int, candidate: int, *, identical: bool = False) -> Law:
    """One candidate, before any test."""
    rng = random.Random(f"atlas-law/{seed}/{candidate}")
    flows: dict[Cell, str] = {}
    signs: dict[Cell, str] = {}
    states: dict[Cell, str] = {}
    for relation, types in RELATIONS.items():
        rolls = list(PERSON_ROLLS if types[0] == "P" else OTHER_ROLLS)
        rng.shuffle(rolls)
        targets = rng.sample(REGIONS, len(REGIONS))
        roll_signs = rng.sample(SIGNS, len(REGIONS))
        for index, region in enumerate(REGIONS):
            flows[relation, region] = targets[index]
            signs[relation, region] = roll_signs[index]
            states[relation, region] = "even" if identical else rolls[index]
    return Law(
        seed=seed,
        identical=identical,
        flows=flows,
        signs=signs,
        states=states,
        held_out=_draw_held_out(seed),
    )


def accepted(candidate: Law, rng: random.Random, num_tasks: int = ACCEPTANCE_TASKS) -> bool:
    """Whether foresight pays under this law, by exact values on `num_tasks` tasks."""
    planner = Oracle(candidate, "planner")
    best = reactive = link_wise = 0.0
    for _ in range(num_tasks):
        facts = draw_question(candidate, rng, training=False)
        best += planner.question_value(facts)
        reactive += reactive_value(planner, facts)
        link_wise += link_wise_value(candidate, facts)
    return (
        best - reactive >= MIN_GAIN_OVER_REACTIVE * num_tasks
        and best - link_wise >= MIN_GAIN_OVER_LINK_WISE * num_tasks
    )


def draw_question(
    law: Law, rng: random.Random, *, training: bool, one_link: bool = False, start: str = ""
) -> QuestionFacts:
    """A question by the task law: start region uniform, three routes, budget.

    First links are distinct, links compose by type, all routes end in one type. The lengths are
    drawn first; every set of routes that has them and fits is then equally likely.

    Args:
        law: its held-out triples matter where `training` is set.
        rng: the only source of randomness.
        training: draw no route that begins with a held-out triple.
        one_link: a single route of a single link, for tests.
        start: name of the start.
    """
    region = rng.choice(REGIONS)
    if one_link:
        routes: list[Route] = [(rng.choice(FIRST_RELATIONS),)]
    else:
        routes = _draw_routes(law.held_out if training else frozenset(), region, rng)
    spare = 1 if rng.random() < SPARE_SEARCH else 0
    return QuestionFacts(
        start=start,
        region=region,
        routes=tuple(zip(ROUTE_LETTERS[: len(routes)], routes, strict=True)),
        budget=max(map(len, routes)) + spare,
    )


def is_composed(law: Law, facts: QuestionFacts) -> bool:
    """Whether a listed route begins with a held-out triple."""
    return any(
        len(route) > 1 and (route[0], facts.region, route[1]) in law.held_out
        for _, route in facts.routes
    )


_Chains = dict[tuple[str, int, str], tuple[Route, ...]]
_Options = tuple[tuple[tuple[tuple[Route, ...], ...], ...], tuple[int, ...]]


def _draw_routes(held_out: frozenset[Triple], region: str, rng: random.Random) -> list[Route]:
    while True:
        lengths = tuple(3 if rng.random() < THREE_LINKS else 2 for _ in ROUTE_LETTERS)
        options, weights = _options(held_out, region, lengths)
        if options:  # about always; held-out beginnings may leave no set of these lengths
            return [rng.choice(chains) for chains in rng.choices(options, cum_weights=weights)[0]]


@lru_cache(maxsize=4096)
def _options(held_out: frozenset[Triple], region: str, lengths: tuple[int, ...]) -> _Options:
    """Every choice of first relations and final type, with the cumulated number of its sets."""
    chains = _chains(held_out, region)
    options, weights = [], []
    for firsts in itertools.permutations(FIRST_RELATIONS, len(lengths)):
        for final in "PFT":
            starts = zip(firsts, lengths, strict=True)
            option = tuple(chains.get((first, length, final), ()) for first, length in starts)
            if all(option):
                options.append(option)
                weights.append(math.prod(map(len, option)))
    return tuple(options), tuple(itertools.accumulate(weights))


@lru_cache(maxsize=1024)
def _chains(held_out: frozenset[Triple], region: str) -> _Chains:
    """Chains by (first relation, number of links, final type), held-out beginnings left out."""
    found: dict[tuple[str, int, str], list[Route]] = {}
    for length in (2, 3):
        for chain in itertools.product(RELATIONS, repeat=length):
            if chain[0] not in FIRST_RELATIONS or (chain[0], region, chain[1]) in held_out:
                continue
            types = [RELATIONS[relation] for relation in chain]
            if all(one[1] == two[0] for one, two in itertools.pairwise(types)):
                found.setdefault((chain[0], length, types[-1][1]), []).append(chain)
    return {key: tuple(chains) for key, chains in found.items()}


def _draw_held_out(seed: int) -> frozenset[Triple]:
    """A fifth of the triples; every (first relation, region) keeps at least one continuation."""
    rng = random.Random(f"atlas-held-out/{seed}")
    triples = [
        (first, region, second)
        for first in FIRST_RELATIONS
        for region in REGIONS
        for second, types in RELATIONS.items()
        if types[0] == RELATIONS[first][1]
    ]
    left: dict[Cell, int] = {}
    for first, region, _ in triples:
        left[first, region] = left.get((first, region), 0) + 1
    wanted = round(HELD_OUT_SHARE * len(triples))
    chosen: list[Triple] = []
    for first, region, second in rng.sample(triples, len(triples)):
        if len(chosen) < wanted and left[first, region] > 1:
            left[first, region] -= 1
            chosen.append((first, region, second))
    return frozenset(chosen)
