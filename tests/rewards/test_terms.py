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


def padded(answer: str, num_calls: int, *, failed: int = 0, void: int = 0) -> Rollout:
    """Calls that ran, calls that failed, turns without an action, and the answer."""
    kinds = ["python"] * (num_calls + failed) + [None] * void + ["answer"]
    made = rollout(answer, *kinds, task_kind="maths")
    turns = [
        replace(turn, tool_error=num_calls <= number < num_calls + failed)
        for number, turn in enumerate(made.turns)
    ]
    return replace(made, turns=tuple(turns))


def worth(term: str, made: Rollout) -> float:
    return judge_rollout(made, RewardConfig(terms=(term,))).reward


@pytest.mark.parametrize("answer", ["42", "7"])
@pytest.mark.parametrize("num_calls", [0, 1, 2, 5])
def test_calls_that_ran_pay_the_same_under_both_maths_rewards(answer, num_calls):
    made = padded(answer, num_calls)
    assert worth("maths_paper_executed", made) == worth("maths_paper", made)


@pytest.mark.parametrize("answer", ["42", "7"])
@pytest.mark.parametrize("num_calls", [0, 1, 3])
def test_padding_with_failing_calls_or_void_turns_pays_under_the_papers_reward_alone(
    answer, num_calls
):
    plain = padded(answer, num_calls)
    for padding in ({"failed": 4}, {"void": 4}, {"failed": 2, "void": 2}):
        more = padded(answer, num_calls, **padding)
        assert worth("maths_paper_executed", more) == worth("maths_paper_executed", plain)
        gains = worth("maths_paper", more) > worth("maths_paper", plain)
        # A right answer has its bonus from the third turn on, so then there is no more to gain.
        assert gains is (answer == "7" or num_calls < 2)


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
