from __future__ import annotations

import random
from collections import defaultdict
from functools import cache

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from forethought.envs.base import call_tool
from forethought.envs.maths import Workbook
from forethought.errors import InputError
from forethought.stats.metrics import auroc
from forethought.types import Task
from forethought.worlds.workbook import physics
from forethought.worlds.workbook.law import (
    draw_question,
    is_composed,
    law,
    right_answer,
    tasks_of_world,
)
from forethought.worlds.workbook.oracle import WorkbookOracle, WorkbookTracker
from forethought.worlds.workbook.policies import POLICIES, simulate
from forethought.worlds.workbook.routes import Call, need, next_call, prints_of, routes_of, runs_of
from forethought.worlds.workbook.text import QuestionFacts, parse_question, render_question

LAW = law(120)


@cache
def tasks(worlds: int = 800) -> list[Task]:
    return [t for seed in range(101_000, 101_000 + worlds) for t in tasks_of_world(LAW, seed)]


def rate(name: str) -> float:
    rng = random.Random(3)
    won = [simulate(t.question, t.answers, POLICIES[name](), rng) for t in tasks()]
    return sum(won) / len(won)


def test_calls_by_hand() -> None:
    assert prints_of(Call("calc", "37 + 7 * 140")) == "1017"
    assert prints_of(Call("calc", "( 37 + 7 * 140 ) / 9")) == "113"
    assert prints_of(Call("calc", "1017 / 7")) == physics.NO_INTEGER
    assert prints_of(Call("calc", "digits ( 1017 )")) == "9"
    assert prints_of(Call("calc", "37 * 2 ** 15")) == physics.TOO_BIG
    assert prints_of(Call("calc", "37 * 2 ** 15 / 64")) == "18944"
    assert prints_of(Call("calc", "1 + 2 + 3 + 4 + 5")) == physics.MALFORMED
    assert prints_of(Call("loop", "37 , * 1 + 12 - 5 , 70")) == "527"
    assert prints_of(Call("loop", "37 , * 1 + 12 - 5 , 140")) == physics.OUT_OF_FUEL
    assert prints_of(Call("loop", "37 , * 2 , 20")) == physics.TOO_BIG


def test_a_task_by_hand() -> None:
    text = "pot 37 ; jar 61 ; each day * 1 + 12 - 5 ; 140 days ; then / 9 ; pot ? ; calls 3"
    facts = parse_question(text)
    assert render_question(facts) == text
    assert right_answer(facts) == "113"
    runs = runs_of(facts)
    assert {name: run.result for name, run in runs.items()} == {
        "direct": None,
        "halves": "113",
        "thirds": "113",
    }
    assert [c.text for c in runs["halves"].calls] == [
        "37 , * 1 + 12 - 5 , 70",
        "527 , * 1 + 12 - 5 , 70",
        "1017 / 9",
    ]
    assert {name: need(facts, name) for name in runs} == {"direct": 2, "halves": 3, "thirds": 4}


@given(st.integers(0, 10_000), st.booleans())
@settings(max_examples=100)
def test_a_question_reads_back_and_the_routes_agree_with_the_answer(
    seed: int, training: bool
) -> None:
    facts = draw_question(LAW, random.Random(seed), training=training)
    assert parse_question(render_question(facts) + " ; plain") == facts
    results = {run.result for run in runs_of(facts).values()} - {None}
    assert results <= {right_answer(facts)}
    assert not (training and is_composed(LAW, facts))
    assert facts.calls >= min(need(facts, name) for name in routes_of(facts))


@pytest.mark.parametrize("text", ["", "pot 1", "pot 1 ; jar 2 ; each day ? ; 3 days ; tin ? ;"])
def test_another_text_is_no_question(text: str) -> None:
    with pytest.raises(InputError, match="workbook question"):
        parse_question(text)


def test_the_sandbox_prints_what_the_physics_says() -> None:
    env = Workbook()
    for task in tasks(60):
        for run in runs_of(parse_question(task.question)).values():
            env.reset(budget=len(run.calls))
            seen = [call_tool(env, call.tool, call.text) for call in run.calls]
            assert tuple(map(physics.read_shown, seen)) == run.prints
            assert [o.failed for o in seen] == [p in physics.FAILURES for p in run.prints]


WORDS = ("digits", "(", ")", "+", "-", "*", "/", "**", "7", "62", "999999", ",")


@given(
    st.text(alphabet="0123456789+-*/() digst,", max_size=24)
    | st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join),
    st.sampled_from(("calc", "loop")),
)
@example("( 62 / 7", "calc")
@example("58 / 5 ) / 5", "calc")
@example("( 7 ** 9999", "calc")
@settings(max_examples=300, deadline=None)
def test_any_input_gets_a_number_or_a_named_failure(text: str, tool: str) -> None:
    env = Workbook()
    env.reset(budget=1)
    told = physics.read_shown(call_tool(env, tool, text))
    assert told == prints_of(Call(tool, text))
    assert told in physics.FAILURES or abs(int(told)) <= physics.LIMIT


@pytest.mark.parametrize("text", ["( 62 / 7", "58 / 5 ) / 5", "7 ** 9999 )", "1 / 2 + + 3"])
def test_what_is_no_sum_is_malformed_whatever_its_beginning_comes_to(text: str) -> None:
    assert physics.calc_prints(text) == physics.MALFORMED


def test_leading_zeros_are_read_as_nothing() -> None:
    env = Workbook()
    env.reset(budget=2)
    assert call_tool(env, "calc", "007 + 00") == "7 d1 odd"
    assert call_tool(env, "loop", "007 , + 1 , 02") == "9 d1 odd"


def test_a_call_beyond_the_budget_ends_the_episode() -> None:
    env = Workbook()
    env.reset(budget=1)
    assert not call_tool(env, "calc", "1 + 1").done
    assert call_tool(env, "calc", "1 + 1").done


def test_the_same_seed_gives_the_same_tasks_and_splits_follow_the_seed() -> None:
    first, again = tasks_of_world(LAW, 7), tasks_of_world(LAW, 7)
    assert first == again != tasks_of_world(LAW, 8)
    assert [tasks_of_world(LAW, s)[0].split for s in (0, 150_000, 250_000)] == [
        "train",
        "val",
        "test",
    ]


def test_the_held_out_slice_is_a_fifth_and_never_trains() -> None:
    share = sum(t.columns["composed"] for t in tasks()) / len(tasks())
    assert 0.1 < share < 0.35
    training = [t for seed in range(200) for t in tasks_of_world(LAW, seed)]
    assert not any(t.columns["composed"] for t in training)


def test_foresight_is_worth_something() -> None:
    reactive, first, planner = rate("reactive"), rate("first-link"), rate("planner")
    assert 0.40 <= reactive <= 0.50
    assert planner - reactive >= 0.20
    assert planner - first >= 0.08
    assert rate("link-wise") <= planner


def test_the_oracle_is_the_success_rate() -> None:
    for mode, name in (("wanderer", "wanderer"), ("planner", "planner")):
        oracles = [WorkbookOracle(parse_question(t.question), mode) for t in tasks()]  # type: ignore[arg-type]
        assert sum(o.value(o.start()) for o in oracles) / len(oracles) == pytest.approx(
            rate(name), abs=0.02
        )


def test_the_value_of_every_decile_is_its_frequency_and_lengths_alone_say_little() -> None:
    rng = random.Random(5)
    bins: dict[int, list[tuple[float, int]]] = defaultdict(list)
    rows: list[tuple[tuple[int, ...], float, int]] = []
    for task in tasks():
        facts = parse_question(task.question)
        tracker = WorkbookTracker(WorkbookOracle(facts))
        policy = POLICIES["wanderer"]()
        policy.start(task.question, rng)
        values, observation, route = [], None, ""
        while True:
            values.append(tracker.p)
            step = policy.act(observation)
            if step.action.kind == "answer":
                break
            route = route or step.route
            observation = prints_of(Call(step.action.kind, step.action.text))
            tracker.step(Call(step.action.kind, step.action.text), observation)
        won = int(step.action.text in task.answers)
        for value in values:
            assert value is not None
            bins[min(int(value * 10), 9)].append((value, won))
        if route:
            first = tracker.oracle.first_values()[route]
            rows.append(((need(facts, route), facts.calls), first, won))
    for pairs in bins.values():
        if len(pairs) >= 300:
            mean = sum(v for v, _ in pairs) / len(pairs)
            assert sum(w for _, w in pairs) / len(pairs) == pytest.approx(mean, abs=0.03)
    won, one = np.array([w for _, _, w in rows]), np.ones((1, len(rows)))
    by_length: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for lengths, _, w in rows:
        by_length[lengths].append(w)
    trivial = [sum(by_length[key]) / len(by_length[key]) for key, _, _ in rows]
    assert auroc(np.array([p for _, p, _ in rows]), won, one)[0] >= 0.80
    assert auroc(np.array(trivial), won, one)[0] <= 0.65


def test_a_call_off_all_routes_spends_a_call_and_has_no_value() -> None:
    text = "pot 37 ; jar 61 ; each day + 12 ; 20 days ; pot ? ; calls 2"
    tracker = WorkbookTracker(WorkbookOracle(parse_question(text)))
    assert tracker.p == 1.0
    assert tracker.step(Call("loop", "61 , + 12 , 20"), "301") is None
    assert tracker.state.calls == 1
    assert tracker.step(Call("calc", "37+12*20"), "277") == 1.0


def test_the_next_call_uses_what_was_printed() -> None:
    facts: QuestionFacts = parse_question(
        "pot 50 ; jar 61 ; each day + 12 - 5 + 3 ; 20 days ; then digits ; pot ? ; calls 2"
    )
    first = next_call(facts, "closed", ())
    assert first == Call("calc", "12 - 5 + 3")
    assert next_call(facts, "closed", ("10",)) == Call("calc", "digits ( 50 + 10 * 20 )")
    assert next_call(facts, "closed", ("10", "7")) is None
