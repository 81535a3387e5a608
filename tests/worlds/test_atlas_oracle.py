from __future__ import annotations

import itertools
import random
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from time import process_time

import pytest

from forethought.worlds.atlas.law import Law, draw_question, law
from forethought.worlds.atlas.oracle import (
    Oracle,
    StateTracker,
    choice_gain,
    link_wise_value,
    reactive_value,
    start_state,
)
from forethought.worlds.atlas.policies import POLICIES, simulate
from forethought.worlds.atlas.text import QuestionFacts, Route
from forethought.worlds.atlas.world import World

Row = tuple[float, int]  # (success probability, outcome)
CALIBRATION_LAWS = (110, 111, 112, 113)
WORLDS = range(101_000, 102_000)


def value_by_the_letter(law: Law, facts: QuestionFacts, mode: str) -> float:
    """The recursion as it is written down, with no algebra and no memory."""

    def follow(routes: tuple[Route, ...], rest: Route, g: str, b: int) -> tuple[float, float]:
        if not rest:
            return 1.0, 0.0
        p, right = law.exists(rest[0], g), law.right(rest[0], g)
        a_sum = b_sum = 0.0
        for weight, place in law.next_regions(rest[0], g):
            a, again = follow(routes, rest[1:], place, b - 1)
            a_sum += weight * right * a
            b_sum += weight * again
        return p * a_sum, p * b_sum + (1 - p) * choose(routes, b - 1)

    def choose(routes: tuple[Route, ...], b: int) -> float:
        values = [
            sum(follow(tuple(r for r in routes if r != route), route, facts.region, b))
            for route in routes
            if len(route) <= b
        ]
        if not values:
            return 0.0
        return max(values) if mode == "planner" else sum(values) / len(values)

    return choose(tuple(route for _, route in facts.routes), facts.budget)


def facts_of(seed: int, number: int) -> list[QuestionFacts]:
    rng = random.Random(seed)
    return [draw_question(law(seed), rng, training=False, start="gera") for _ in range(number)]


@cache
def wandering() -> dict[str, list[Row]]:
    """Rows of 20,000 wanderer episodes by stage: question, named route, after each search."""
    rows: dict[str, list[Row]] = defaultdict(list)
    rng = random.Random(17)
    for seed in CALIBRATION_LAWS:
        drawn = law(seed)
        oracle, policy = Oracle(drawn), POLICIES["wanderer"](drawn)
        for item in (item for w in WORLDS for item in World(drawn, w).playable()):
            episode = simulate(item, policy, rng)
            tracker = StateTracker(oracle, item.task.question)
            seen = [("question", tracker.p), ("named", tracker.value_of(episode.steps[0].route))]
            for number, observation in enumerate(episode.observations):
                query = episode.steps[number].action.text
                seen.append((f"search {number + 1}", tracker.step(query, observation)))
            for stage, p in seen:
                assert p is not None, "the wanderer is always on a route"
                rows[stage].append((p, int(episode.success)))
    return rows


def auroc(rows: Sequence[Row]) -> float:
    """P(a success is ranked above a failure), ties half."""
    counts: dict[float, list[int]] = defaultdict(lambda: [0, 0])
    for score, outcome in rows:
        counts[round(score, 12)][outcome] += 1
    below, won = 0, 0.0
    for score in sorted(counts):
        failures, successes = counts[score]
        won += successes * (below + failures / 2)
        below += failures
    return won / (below * (len(rows) - below))


@pytest.mark.parametrize("mode", ["wanderer", "planner"])
def test_the_unrolled_recursion_is_the_specified_one(mode: str) -> None:
    oracle = Oracle(law(110), mode)  # type: ignore[arg-type]
    for facts in facts_of(110, 60):
        assert oracle.question_value(facts) == pytest.approx(
            value_by_the_letter(law(110), facts, mode), abs=1e-12
        )


@pytest.mark.parametrize("stage", ["question", "named", "search 1", "search 2", "search 3"])
def test_oracle_is_the_frequency_in_each_decile(stage: str) -> None:
    rows = list(wandering()[stage])
    random.Random(3).shuffle(rows)  # so that ties are cut at random, not by outcome
    rows.sort(key=lambda row: row[0])
    edges = [len(rows) * part // 10 for part in range(11)]
    for low, high in itertools.pairwise(edges):
        bin_ = rows[low:high]
        mean = sum(p for p, _ in bin_) / len(bin_)
        # .03 is 2.7 standard errors of 2,000 outcomes; late stages have fewer.
        assert abs(sum(outcome for _, outcome in bin_) / len(bin_) - mean) < 0.03 * max(
            1.0, (2_000 / len(bin_)) ** 0.5
        )


def test_structure_of_q() -> None:
    rows = wandering()
    assert len(rows["named"]) == 20_000
    assert auroc(rows["question"]) == pytest.approx(0.75, abs=0.03)
    assert auroc(rows["named"]) >= 0.80
    assert auroc(rows["named"]) == pytest.approx(0.87, abs=0.03)
    assert auroc(rows["search 1"]) == pytest.approx(0.92, abs=0.03)
    undecided = sum(0.1 <= p <= 0.9 for p, _ in rows["named"]) / len(rows["named"])
    assert undecided > 0.6


def test_route_lengths_and_budget_alone_tell_little() -> None:
    """The best estimate from shapes: the mean outcome of a shape, learnt on the other half."""
    shapes: dict[tuple[object, ...], list[int]] = defaultdict(lambda: [1, 2])
    held: list[tuple[tuple[object, ...], int]] = []
    rng = random.Random(23)
    drawn = law(114)
    policy = POLICIES["wanderer"](drawn)
    for number, w in enumerate(range(103_000, 104_200)):
        for item in World(drawn, w).playable():
            episode = simulate(item, policy, rng)
            lengths = {letter: len(r) for letter, r in policy.facts.routes}
            chosen = lengths.pop(episode.steps[0].route)
            shape = (chosen, *sorted(lengths.values()), item.task.columns["budget"])
            if number % 2:
                held.append((shape, int(episode.success)))
            else:
                shapes[shape][0] += episode.success
                shapes[shape][1] += 1
    rows = [(shapes[shape][0] / shapes[shape][1], outcome) for shape, outcome in held]
    assert 0.5 < auroc(rows) < 0.65


def test_twenty_thousand_tasks_in_ten_seconds() -> None:
    tasks = facts_of(115, 2_000)
    oracle = Oracle(law(115))
    begin = process_time()
    for facts in tasks:
        oracle.first_values(facts)
    assert (process_time() - begin) * 10 < 10


def test_no_policy_beats_the_planner_and_nobody_falls_below_zero() -> None:
    drawn = law(116)
    planner, wanderer = Oracle(drawn, "planner"), Oracle(drawn)
    for facts in facts_of(116, 300):
        best = planner.question_value(facts)
        assert 0.0 <= wanderer.question_value(facts) <= best + 1e-12 <= 1.0 + 1e-12
        assert 0.0 <= reactive_value(planner, facts) <= best + 1e-12
        assert 0.0 <= link_wise_value(drawn, facts) <= 1.0
        values = planner.first_values(facts)
        assert max(values.values()) == pytest.approx(best)


def test_choice_gain_is_one_for_the_best_choice_and_zero_for_chance() -> None:
    drawn = law(117)
    oracle, tasks = Oracle(drawn), facts_of(117, 200)
    tables = [oracle.first_values(facts) for facts in tasks]
    best = [max(table, key=table.__getitem__) for table in tables]
    worst = [min(table, key=table.__getitem__) for table in tables]
    assert choice_gain(oracle, zip(tasks, best, strict=True)) == pytest.approx(1.0)
    assert (choice_gain(oracle, zip(tasks, worst, strict=True)) or 0.0) < -0.5
    every = [
        (facts, letter) for facts, table in zip(tasks, tables, strict=True) for letter in table
    ]
    assert choice_gain(oracle, every) == pytest.approx(0.0, abs=1e-9)
    assert choice_gain(oracle, []) is None


def test_tracker_follows_a_route_a_miss_and_a_stale_page() -> None:
    drawn = law(110)
    oracle = Oracle(drawn)
    region = next(g for g in ("north", "south", "east", "west") if drawn.exists("mentor", g) > 0.9)
    question = f"gera of {region} : a mentor employer b home mill c guild ; 3"
    tracker = StateTracker(oracle, question)
    assert tracker.state == start_state(tracker.facts)
    named = tracker.value_of("a")
    assert named is not None
    sign = drawn.sign("mentor", region)
    shown = f"mentor {region} {sign} gera banok coast ; home {region} moss dolen buzur moor"
    tracker.step("mentor gera", shown)
    assert (tracker.state.current, tracker.state.rest) == ("a", ("employer",))
    assert (tracker.state.region, tracker.state.budget) == ("coast", 2)
    assert tracker.state.c == drawn.right("mentor", region)
    assert tracker.value_of("a") == tracker.p
    tracker.step("employer banok", "guild east moss gera dolen coast")
    assert (tracker.state.current, tracker.state.unused) == (None, ("b", "c"))
    assert tracker.value_of("a") is None
    assert tracker.p == pytest.approx(oracle.choice([("guild",)], region, 1))


def test_a_query_off_all_routes_spends_a_search_and_has_no_p() -> None:
    oracle = Oracle(law(110))
    tracker = StateTracker(oracle, "gera of east : a mentor employer b home mill ; 3")
    for query in ("seat gera", "what now", "employer banok"):
        assert tracker.step(query, "seat east moss dolen banok west") is None
        assert tracker.p is None
    assert tracker.state.budget == 0
    assert tracker.state.unused == ("a", "b")
    assert tracker.value_of("a") == 0.0
    tracker.step("mentor gera", "")
    assert tracker.p == 0.0  # a search beyond the budget


def test_a_route_left_half_way_is_closed_and_a_page_seen_by_chance_may_be_used() -> None:
    oracle = Oracle(law(110))
    question = "gera of east : a mentor employer b home mill c guild seat ; 4"
    tracker = StateTracker(oracle, question)
    tracker.step("mentor gera", "mentor east moss gera banok west ; home east lamp gera dolen moor")
    tracker.step("mill dolen", "mill moor lamp dolen buzur east ; home east lamp gera dolen moor")
    assert (tracker.state.current, tracker.state.rest) == ("b", ())
    assert tracker.state.unused == ("c",)
    assert tracker.p == tracker.state.c
    assert tracker.value_of("a") is None


def test_auroc_helper() -> None:
    assert auroc([(0.1, 0), (0.9, 1)]) == 1.0
    assert auroc([(0.5, 0), (0.5, 1), (0.5, 1)]) == 0.5
