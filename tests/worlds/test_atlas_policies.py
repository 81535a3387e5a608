from __future__ import annotations

import random
from functools import cache

import pytest

from forethought.types import Action
from forethought.worlds.atlas.law import draw_question, law
from forethought.worlds.atlas.oracle import Oracle, link_wise_value, reactive_value
from forethought.worlds.atlas.policies import POLICIES, Planner, ScriptedPolicy, simulate
from forethought.worlds.atlas.tokens import vocabulary
from forethought.worlds.atlas.world import World, WorldTask, truth_of

LAWS = range(100, 112)
TABLE = {"wanderer": 0.48, "reactive": 0.45, "first-link": 0.56, "link-wise": 0.63, "planner": 0.74}


@cache
def tasks(seed: int, worlds: int = 80) -> list[WorldTask]:
    drawn = law(seed)
    return [t for w in range(105_000, 105_000 + worlds) for t in World(drawn, w).playable()]


def success(policy: ScriptedPolicy, items: list[WorldTask]) -> float:
    rng = random.Random(29)
    return sum(simulate(item, policy, rng).success for item in items) / len(items)


@cache
def table() -> dict[str, float]:
    """Success of each policy, averaged over the laws."""
    return {
        name: sum(success(make(law(seed)), tasks(seed)) for seed in LAWS) / len(LAWS)
        for name, make in POLICIES.items()
    }


@pytest.mark.parametrize("name", TABLE)
def test_policy_table(name: str) -> None:
    assert tuple(POLICIES) == tuple(TABLE)
    assert table()[name] == pytest.approx(TABLE[name], abs=0.02)


def test_foresight_is_worth_nine_points_beyond_the_link_at_hand() -> None:
    assert table()["planner"] - table()["link-wise"] >= 0.09
    assert table()["planner"] - table()["reactive"] >= 0.25


def test_simulated_success_is_the_exact_value() -> None:
    drawn, items = law(118), tasks(118, worlds=800)
    planner, wanderer = Oracle(drawn, "planner"), Oracle(drawn)
    rng = random.Random(1)
    questions = [draw_question(drawn, rng, training=False) for _ in range(4_000)]

    def mean(values: list[float]) -> float:
        return sum(values) / len(values)

    exact = {
        "wanderer": mean([wanderer.question_value(facts) for facts in questions]),
        "planner": mean([planner.question_value(facts) for facts in questions]),
        "reactive": mean([reactive_value(planner, facts) for facts in questions]),
        "link-wise": mean([link_wise_value(drawn, facts) for facts in questions]),
    }
    for name, value in exact.items():
        assert success(POLICIES[name](drawn), items) == pytest.approx(value, abs=0.025)


def test_leaving_a_route_half_way_makes_the_planner_no_worse() -> None:
    gains = [
        success(Planner(law(seed), replan=True), tasks(seed))
        - success(Planner(law(seed)), tasks(seed))
        for seed in LAWS
    ]
    assert -0.005 < sum(gains) / len(gains) < 0.04


@pytest.mark.parametrize("name", POLICIES)
def test_policies_act_from_text_and_within_the_budget(name: str) -> None:
    drawn, words = law(100), set(vocabulary())
    policy, rng = POLICIES[name](drawn), random.Random(4)
    for item in tasks(100):
        episode = simulate(item, policy, rng)
        *searches, last = episode.steps
        assert len(searches) == len(episode.observations) <= item.task.columns["budget"]
        assert last.action.kind == "answer"
        assert all(step.action.kind == "search" for step in searches)
        for step in episode.steps:
            assert set(f"{step.think} {step.action.text}".split()) <= words
        read = {text.split()[4] for text in episode.observations if text}
        assert last.action.text in {*read, "none"}
        assert last.think == last.action.text


def test_a_policy_without_the_law_plays_alike_under_every_law() -> None:
    items = tasks(100)[:100]
    for name in ("wanderer", "reactive"):
        one = [simulate(t, POLICIES[name](law(100)), random.Random(6)) for t in items]
        two = [simulate(t, POLICIES[name](law(101)), random.Random(6)) for t in items]
        assert one == two


@pytest.mark.parametrize("name", POLICIES)
def test_the_same_randomness_gives_the_same_episode(name: str) -> None:
    make, items = POLICIES[name], tasks(101)[:60]
    one = [simulate(t, make(law(101)), random.Random(8)) for t in items]
    assert one == [simulate(t, make(law(101)), random.Random(8)) for t in items]


def test_a_wrong_answer_is_the_decoy_and_follows_a_stale_page() -> None:
    drawn, rng = law(102), random.Random(9)
    policy = POLICIES["wanderer"](drawn)
    misled = 0
    for w in range(105_000, 105_200):
        made = World(drawn, w)
        truth = truth_of(made)
        stale = {(link.relation, link.subject) for link in truth.links if link.stale}
        for number, item in enumerate(made.playable()):
            episode = simulate(item, policy, rng)
            if not episode.success and episode.answer != "none":
                assert episode.answer == truth.decoys[number]
                asked = {tuple(s.action.text.split()) for s in episode.steps[:-1]}
                assert asked & stale
                misled += 1
    assert misled > 50


def test_the_wanderer_moves_on_after_a_miss_and_gives_up_when_nothing_fits() -> None:
    policy = POLICIES["wanderer"](law(100))
    policy.start("gera of east : a mentor mentor b home mayor c guild ; 3", random.Random(1))
    step = policy.act(None)
    first = step.route
    again = policy.act("seat east moss dolen banok west")
    assert again.route != first
    assert again.action.text.endswith("gera")
    policy.start("gera of east : a mentor mentor b home mayor ; 2", random.Random(1))
    policy.act(None)
    assert policy.act("").action == Action(kind="answer", text="none")
