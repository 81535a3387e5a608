"""Laws of judging a rollout."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import get_args

import pytest

from forethought.errors import InputError
from forethought.rewards.terms import TERMS, RewardConfig, judge_rollout
from forethought.schema import RewardTerm
from forethought.types import (
    Action,
    Foresight,
    ParsedTurn,
    Rollout,
    RolloutError,
    StopReason,
    Task,
    Turn,
)


def turn(kind: str | None) -> Turn:
    action = None if kind is None else Action(kind=kind, text="x")
    parsed = ParsedTurn(foresight=None, think="", action=action, problems=(), spans=())
    return Turn(
        ids=(1,),
        logprobs=(0.0,),
        text="x",
        parsed=parsed,
        token_spans=(),
        observation="",
        observation_ids=(),
    )


def rollout(
    answer: str | None,
    *kinds: str | None,
    task_kind: str = "qa",
    stop: StopReason = StopReason.ANSWER,
    error: RolloutError | None = None,
) -> Rollout:
    return Rollout(
        task=Task(id="t", question="?", answers=("42", "forty-two"), kind=task_kind),
        index=0,
        env="e",
        prompt_ids=(1,),
        turns=tuple(turn(kind) for kind in kinds),
        answer=answer,
        stop_reason=stop,
        error=error,
        wall_s=0.0,
    )


def test_a_right_answer_is_worth_one_and_each_void_turn_costs_a_hundredth():
    judged = judge_rollout(rollout("Forty-two", None, "search", None, "answer"), RewardConfig())
    assert judged.success == 1 and judged.reward == pytest.approx(0.98)
    assert judged.judge == "exact"


@pytest.mark.parametrize("stop", [StopReason.DONE, StopReason.MAX_TURNS, StopReason.LENGTH])
def test_an_end_without_an_answer_is_a_failure(stop):
    judged = judge_rollout(rollout(None, "search", stop=stop), RewardConfig())
    assert judged == (0, 0.0, "no_answer")


def test_giving_up_is_a_failure():
    assert judge_rollout(rollout("none", "answer"), RewardConfig()).success == 0


def test_a_fault_of_the_machine_has_no_success():
    error = RolloutError(kind="timeout", message="")
    judged = judge_rollout(
        rollout("42", "answer", stop=StopReason.ERROR, error=error), RewardConfig()
    )
    assert judged == (None, 0.0, "error:timeout")


def test_maths_answers_are_judged_as_they_stand():
    judged = judge_rollout(rollout("42.0", "answer", task_kind="maths"), RewardConfig())
    assert judged.success == 1 and judged.judge == "given"


@pytest.mark.parametrize(
    ("answer", "turns", "expected"),
    [
        ("42", 1, 1.0),
        ("42", 2, 1.0),
        ("42", 3, 2.0),
        ("7", 1, -1.05),
        ("7", 3, -0.95),
        ("7", 15, -0.35),
    ],
)
def test_the_published_maths_reward_pays_a_wrong_answer_for_every_turn(answer, turns, expected):
    config = RewardConfig(terms=("maths_paper",))
    judged = judge_rollout(rollout(answer, *["python"] * turns, task_kind="maths"), config)
    assert judged.reward == pytest.approx(expected)


def test_every_term_is_documented_and_an_unknown_one_refused():
    assert all(term.__doc__ for term in TERMS.values())
    with pytest.raises(InputError, match="outcome"):
        RewardConfig(terms=("length_bonus",))


def stating(q: float | None, answer: str = "42") -> Rollout:
    made = rollout(answer, "search", "answer")
    block = Foresight(roadmap="r", keywords=("k",), analysis="a", q=q)
    last = replace(made.turns[-1], parsed=replace(made.turns[-1].parsed, foresight=block))
    return replace(made, turns=(made.turns[0], last))


@pytest.mark.parametrize("term", ["calibration", "log_score"])
@pytest.mark.parametrize("p", [0.1, 0.35, 0.8])
def test_the_scores_of_the_last_estimate_are_proper(term, p):
    config = RewardConfig(terms=(term,))

    def expected(q: float) -> float:
        won = judge_rollout(stating(q), config).reward
        return p * won + (1 - p) * judge_rollout(stating(q, "7"), config).reward

    levels = [level / 20 for level in range(21)]
    assert max(levels, key=expected) == pytest.approx(p)


def test_a_missing_estimate_is_scored_as_the_worst_one():
    for term, worst in (("calibration", -1.0), ("log_score", math.log(0.01))):
        config = RewardConfig(terms=("outcome", term))
        assert judge_rollout(stating(None), config).reward == pytest.approx(1.0 + worst)
        assert judge_rollout(stating(0.0), config).reward == pytest.approx(1.0 + worst)
        assert judge_rollout(stating(1.0), config).reward == pytest.approx(1.0)


def test_every_term_is_a_value_of_the_configuration():
    assert set(get_args(RewardTerm)) == set(TERMS)
