from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from forethought.report.failures import CAUSES, cause, failures, surprises
from forethought.report.findings import findings
from forethought.types import Action, Choice, Episode, EpisodeTurn, StopReason


def turn(**changes: Any) -> EpisodeTurn:
    made = EpisodeTurn(
        text="",
        format_ok=True,
        foresight=None,
        action=Action(kind="search", text="mentor gera"),
        observation="mentor moor drum gera zuras east",
        oracle_p=0.5,
        copied=True,
        q_expected=0.5,
    )
    return replace(made, **changes)


def episode(*turns: EpisodeTurn, **changes: Any) -> Episode:
    made = Episode(
        task_id="t",
        rollout=0,
        env="search_qa",
        split="val",
        question="?",
        answers=("baten",),
        answer="zuras",
        success=0,
        reward=0.0,
        judge="exact",
        stop_reason=StopReason.ANSWER,
        error=None,
        turns=turns or (turn(),),
        choice=Choice(chosen=0.6, mean=0.5, best=0.9),
    )
    return replace(made, **changes)


LOST = {
    "no route": episode(choice=Choice(chosen=0.0, mean=0.0, best=0.0)),
    "no action": episode(turn(action=None)),
    "copied wrong": episode(turn(copied=False)),
    "query wrong": episode(turn(), turn(oracle_p=None)),
    "plan wrong": episode(choice=Choice(chosen=0.4, mean=0.5, best=0.9)),
    "call failed": episode(turn(tool_error=True)),
    "evidence missing": episode(answer="none"),
    "evidence wrong": episode(),
}


@pytest.mark.parametrize("name", CAUSES)
def test_every_cause_is_found_by_its_rule(name: str) -> None:
    assert cause(LOST[name]) == name


def test_an_answer_that_nothing_showed_is_copied_wrong_only_where_answers_are_shown() -> None:
    assert cause(episode(answer="banok")) == "copied wrong"
    assert cause(episode(answer="banok", choice=None)) == "evidence wrong"


def test_every_lost_episode_has_one_cause_and_the_others_none() -> None:
    found = failures([*LOST.values(), episode(success=1), episode(success=None)])
    assert found["lost"] == len(LOST) == sum(found["causes"].values())
    assert set(found["causes"].values()) == {1}
    assert found["over-confident"] == 0


def test_surprises_are_what_the_estimate_did_not_see_coming() -> None:
    sure = episode(turn(q_expected=0.1), turn(q_expected=0.9))
    unsure = episode(turn(q_expected=0.1), success=1)
    plain = [episode(), episode(success=1), episode(turn(q_expected=None))]
    assert surprises([sure, unsure, *plain]) == ([sure], [unsure])
    assert failures([sure])["over-confident"] == 1


def comparison(a: str, b: str, metric: str, lo: float, hi: float) -> dict[str, Any]:
    return {"a": a, "b": b, "metric": metric, "diff": (lo + hi) / 2, "lo": lo, "hi": hi}


def test_the_words_follow_the_intervals_and_a_worse_arm_is_told() -> None:
    cell = {"value": 0.8, "lo": 0.7, "hi": 0.9}
    summary = {
        "metrics": {"auroc_expected.first": cell, "keyword_lift": cell},
        "beside": {"trivial.first": {"auroc": 0.55}},
    }
    skill = "brier_skill_expected.first"
    told = findings(
        {"sft": summary, "rl": summary},
        [
            comparison("rl", "sft", "success", 0.01, 0.09),
            comparison("rl", "sft", skill, -0.2, 0.1),
            comparison("rl", "fe-sft-grpo-rl", "success", -0.2, -0.1),
        ],
    )
    assert len(told) == 3
    assert "80% of all pairs [70%, 90%]" in told[0] and "55%" in told[0]
    assert "+0.050 [+0.010, +0.090], higher" in told[1]
    assert "-0.050 [-0.200, +0.100], no clear difference" in told[1]
    assert "fe-sft-grpo-rl" in told[2] and told[2].endswith("lower.")


def test_a_control_without_blocks_is_not_said_to_have_trained_as_many() -> None:
    rows = [comparison("rl", "plain-grpo-rl", "success", -0.2, -0.1)]
    cell = {"value": 0.8, "lo": 0.7, "hi": 0.9}
    summary = {"metrics": {"auroc_expected.first": cell, "keyword_lift": cell}}
    told = findings({"rl": summary}, rows)
    assert "without blocks" in told[-1] and "equal block tokens" not in told[-1]


def test_what_was_not_measured_is_not_told() -> None:
    empty = {"metrics": {"auroc_expected.first": {"value": None, "lo": None, "hi": None, "n": 0}}}
    assert findings({"sft": empty}, []) == findings({}, []) == []
