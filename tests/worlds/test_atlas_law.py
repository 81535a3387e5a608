from __future__ import annotations

import itertools
import random

import pytest

from forethought.worlds.atlas.law import (
    FIRST_RELATIONS,
    MIN_GAIN_OVER_LINK_WISE,
    MIN_GAIN_OVER_REACTIVE,
    draw_law,
    draw_question,
    is_composed,
    law,
)
from forethought.worlds.atlas.oracle import Oracle, link_wise_value, reactive_value
from forethought.worlds.atlas.tokens import REGIONS, RELATIONS, SIGNS

LAWS = (100, 101, 102)


@pytest.mark.parametrize("seed", LAWS)
def test_flows_are_permutations_signs_distinct_and_states_as_specified(seed: int) -> None:
    drawn = law(seed)
    for relation, types in RELATIONS.items():
        assert sorted(drawn.flow(relation, g) for g in REGIONS) == sorted(REGIONS)
        signs = [drawn.sign(relation, g) for g in REGIONS]
        assert len(set(signs)) == 6
        assert set(signs) <= set(SIGNS)
        states = sorted(drawn.state(relation, g) for g in REGIONS)
        person = ["kept"] * 5 + ["stale"]
        other = ["burnt"] * 3 + ["kept"] * 2 + ["stale"]
        assert states == (person if types[0] == "P" else other)


def test_the_object_follows_the_flow_with_85_per_cent() -> None:
    drawn = law(100)
    chances = drawn.next_regions("seat", "east")
    assert sum(p for p, _ in chances) == pytest.approx(1.0)
    for chance, region in chances:
        assert chance == pytest.approx(0.85 if region == drawn.flow("seat", "east") else 0.03)


def test_pages_exist_and_mislead_as_their_state_says() -> None:
    drawn = law(100)
    expected = {"kept": (0.97, 1.0), "stale": (0.97, 0.35), "burnt": (0.10, 1.0)}
    for (relation, region), state in drawn.states.items():
        exists, right = expected[state]
        assert drawn.exists(relation, region) == exists
        assert drawn.right(relation, region) == pytest.approx(right)


def test_the_same_seed_gives_the_same_law_and_another_seed_another() -> None:
    assert law(100) is law(100, identical=False)
    again = draw_law(100, 0)
    assert again.flows == draw_law(100, 0).flows
    assert again.states != draw_law(101, 0).states


@pytest.mark.parametrize("seed", LAWS)
def test_foresight_pays_under_every_law_on_fresh_tasks(seed: int) -> None:
    drawn, rng = law(seed), random.Random(seed)
    planner = Oracle(drawn, "planner")
    tasks = [draw_question(drawn, rng, training=False) for _ in range(1_500)]
    best = sum(map(planner.question_value, tasks)) / len(tasks)
    reactive = sum(reactive_value(planner, facts) for facts in tasks) / len(tasks)
    link_wise = sum(link_wise_value(drawn, facts) for facts in tasks) / len(tasks)
    noise = 0.015
    assert best - reactive >= MIN_GAIN_OVER_REACTIVE - noise
    assert best - link_wise >= MIN_GAIN_OVER_LINK_WISE - noise
    assert reactive < link_wise < best


def test_foresight_of_cells_pays_nothing_in_the_negative_control() -> None:
    control, rng = law(100, identical=True), random.Random(5)
    assert set(control.states.values()) == {"even"}
    assert control.name != law(100).name
    planner = Oracle(control, "planner")
    for _ in range(200):
        facts = draw_question(control, rng, training=False)
        # Only lengths differ between routes: whoever looks at links finds what the planner finds.
        assert link_wise_value(control, facts) == pytest.approx(planner.question_value(facts))
        by_length: dict[int, set[float]] = {}
        for letter, value in planner.first_values(facts).items():
            by_length.setdefault(len(facts.route(letter)), set()).add(round(value, 12))
        assert all(len(values) == 1 for values in by_length.values())


def test_questions_obey_the_task_law() -> None:
    drawn, rng = law(100), random.Random(1)
    tasks = [draw_question(drawn, rng, training=False) for _ in range(4_000)]
    lengths = []
    for facts in tasks:
        routes = [route for _, route in facts.routes]
        assert len({route[0] for route in routes}) == len(routes) == 3
        assert len({RELATIONS[route[-1]][1] for route in routes}) == 1
        for route in routes:
            types = [RELATIONS[relation] for relation in route]
            assert route[0] in FIRST_RELATIONS
            assert all(a[1] == b[0] for a, b in itertools.pairwise(types))
        assert facts.budget - max(map(len, routes)) in (0, 1)
        lengths += map(len, routes)
    assert sum(n == 3 for n in lengths) / len(lengths) == pytest.approx(0.30, abs=0.02)
    spare = [facts.budget - max(len(r) for _, r in facts.routes) for facts in tasks]
    assert sum(spare) / len(spare) == pytest.approx(0.40, abs=0.03)
    for region in REGIONS:
        share = sum(facts.region == region for facts in tasks) / len(tasks)
        assert share == pytest.approx(1 / 6, abs=0.025)


def test_a_fifth_of_the_triples_is_held_out_and_never_drawn_for_training() -> None:
    drawn, rng = law(101), random.Random(2)
    assert len(drawn.held_out) == 12  # of 4 relations' 10 continuations in 6 regions
    assert law(101, identical=True).held_out == drawn.held_out
    assert law(102).held_out != drawn.held_out
    training = [draw_question(drawn, rng, training=True) for _ in range(3_000)]
    assert not any(is_composed(drawn, facts) for facts in training)
    other = [draw_question(drawn, rng, training=False) for _ in range(3_000)]
    assert 0.2 < sum(is_composed(drawn, facts) for facts in other) / len(other) < 0.6
