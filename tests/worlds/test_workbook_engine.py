from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from forethought.envs.maths import Workbook
from forethought.evals.baselines import workbook_backend
from forethought.rewards.terms import RewardConfig, judge_rollout
from forethought.rollout.engine import EngineConfig, Start, run_rollouts_sync
from forethought.rollout.render import TextFormat
from forethought.training.tiny import build_word_tokenizer
from forethought.types import Rollout, StopReason
from forethought.worlds.workbook.law import law, tasks_of_world
from forethought.worlds.workbook.oracle import WorkbookOracle
from forethought.worlds.workbook.text import parse_question
from forethought.worlds.workbook.tokens import PIECES, vocabulary

TASKS = [task for seed in range(101_000, 101_080) for task in tasks_of_world(law(121), seed)]
FORMAT = TextFormat(name="workbook", style="maths", spaced=True)


@cache
def tokenizer() -> Any:
    return build_word_tokenizer(vocabulary(), pieces=PIECES)


@cache
def play(name: str) -> list[Rollout]:
    starts = [
        Start(task=task, env=Workbook(), index=0, noise=(0, 0, number), mode="plain")
        for number, task in enumerate(TASKS)
    ]
    backend = workbook_backend(name, tokenizer())
    return run_rollouts_sync(starts, backend, FORMAT, tokenizer(), EngineConfig(max_turns=8))


def test_every_question_and_every_turn_reads_back_from_its_tokens() -> None:
    unknown = tokenizer().unk_token_id
    for rollout in play("wanderer"):
        assert unknown not in rollout.prompt_ids
        assert tokenizer().decode(rollout.prompt_ids[1:]) == f"{rollout.task.question} ; plain"
        for turn in rollout.turns:
            assert unknown not in (*turn.ids, *turn.observation_ids)
            assert turn.parsed.problems == () and turn.parsed.action is not None


@pytest.mark.parametrize("name", ["wanderer", "planner"])
def test_episodes_through_the_engine_succeed_as_the_oracle_says(name: str) -> None:
    won = [judge_rollout(r, RewardConfig()).success for r in play(name)]
    mode: Any = name
    oracles = [WorkbookOracle(parse_question(t.question), mode) for t in TASKS]
    values = [oracle.value(oracle.start()) for oracle in oracles]
    assert sum(w or 0 for w in won) / len(won) == pytest.approx(
        sum(values) / len(values), abs=0.06 if name == "wanderer" else 1e-9
    )


def test_planner_episodes_end_with_an_answer_within_the_budget() -> None:
    for rollout in play("planner"):
        assert rollout.stop_reason == StopReason.ANSWER
        assert len(rollout.turns) - 1 <= parse_question(rollout.task.question).calls
