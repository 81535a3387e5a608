"""Training and labels under a judge: one batch an update, and what it cannot say is left out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")

import torch

from forethought.config import load_config
from forethought.domains.atlas import AtlasDomain, atlas_tokenizer
from forethought.errors import GuardRail
from forethought.hindsight.branch import BranchPoint, Student, alternatives, measure
from forethought.jsonl import read_log
from forethought.rewards.ruling import Ruling
from forethought.rewards.terms import RewardConfig
from forethought.rollout.engine import EngineConfig
from forethought.rollout.scripted import ScriptedBackend
from forethought.schema import RunConfig
from forethought.stages import rl
from forethought.stages.context import open_run
from forethought.stages.evaluate import setting_for
from forethought.stages.labels import as_rollout, make_student
from forethought.training.policy import Policy
from forethought.training.tiny import ModelShape, build_tiny_llama
from forethought.types import Rollout

SIZES = {
    "rl.updates": "2",
    "rl.prompts": "2",
    "rl.group_size": "4",
    "rl.refit_rollouts": "5",
    "rl.terms": '["outcome"]',
    "rollout.max_turns": "2",
    "rollout.max_turn_tokens": "12",
}


class Fake:
    """A judge whose word is a function of the rollout; counts how often it is asked."""

    name = "fake"

    def __init__(self, word: Callable[[Rollout], bool | None]) -> None:
        self._word = word
        self.batches: list[int] = []

    def rule(self, rollouts: Sequence[Rollout]) -> list[Ruling | None]:
        self.batches.append(len(rollouts))
        return [
            Ruling(right=self._word(r), how=self.name, exact=False, reason="silent")
            for r in rollouts
        ]


def train(folder: Path, judge: Fake | None, **changes: str) -> Path:
    config = load_config("demo/atlas-fast", {**SIZES, **changes})
    tokenizer = atlas_tokenizer()
    shape = ModelShape(hidden=16, layers=1, heads=1, kv_heads=1, ffn=16, max_positions=256)
    policy = Policy(model=build_tiny_llama(len(tokenizer), shape, seed=0), tokenizer=tokenizer)
    rl.run(replace(open_run(config, folder, resume=False), judge=judge), policy)
    return folder / "rl" / "metrics.jsonl"


def rewards(file: Path) -> list[float]:
    return [row["reward"] for _, row in read_log(file) if "reward" in row]


def test_an_update_is_judged_in_one_batch_and_trains_on_the_verdicts(tmp_path: Path) -> None:
    judge = Fake(lambda rollout: rollout.index % 4 == 1)
    assert rewards(train(tmp_path / "a", judge)) == [0.25, 0.25]
    assert judge.batches == [8, 8, 5]  # two updates, then the fit of the number
    assert rewards(train(tmp_path / "b", None)) == [0.0, 0.0]


def test_stage_3_runs_where_an_event_loop_runs_as_in_a_notebook(tmp_path: Path) -> None:
    async def cell() -> Path:
        return train(tmp_path, None)

    assert rewards(asyncio.run(cell())) == [0.0, 0.0]


def test_rollouts_without_a_verdict_are_in_no_reward_and_too_many_stop_the_stage(
    tmp_path: Path,
) -> None:
    def word(rollout: Rollout) -> bool | None:
        return None if rollout.index == 0 else rollout.index == 1

    with pytest.raises(GuardRail, match=r"2 of 8 rollouts were lost \(judge: silent\)"):
        train(tmp_path / "a", Fake(word))
    found = rewards(train(tmp_path / "b", Fake(word), **{"rl.max_failed_share": "0.5"}))
    assert found == pytest.approx([1 / 3, 1 / 3])


def test_the_judge_of_a_run_is_that_of_its_updates_labels_and_evaluations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    config = load_config("demo/atlas-fast", {"judge.kind": "llm", "judge.model": "m"})
    context = open_run(config, tmp_path, resume=False)
    assert context.judge is not None and context.judge.name == "llm:m"
    policy: Any = SimpleNamespace(model=SimpleNamespace(device=torch.device("cpu")), tokenizer=None)
    assert make_student(context, policy).judge is context.judge
    assert setting_for(context, temperature=1.0, mode="plain").judge is context.judge


def points_and_student(judge: Fake) -> tuple[list[BranchPoint], Student]:
    domain, tokenizer = AtlasDomain.from_config(RunConfig(seed=100)), atlas_tokenizer()
    rollouts = [
        as_rollout(t, domain.text_format, tokenizer) for t in domain.trajectories(3, tokenizer)
    ]

    def write(_: str, noise: tuple[int, ...], __: str) -> str:
        name = "abcd"[noise[2] % 3]
        return f"<think> {name} </think> <answer> {name} </answer>"

    student = Student(
        backend=ScriptedBackend(write, tokenizer),
        tokenizer=tokenizer,
        text_format=domain.text_format,
        engine=EngineConfig(max_turns=6),
        make_env=domain.make_env,
        reward=RewardConfig(),
        judge=judge,
        seed=1,
        max_failed_share=0.9,
    )
    return [BranchPoint(rollout=r, history=(), key=n) for n, r in enumerate(rollouts)], student


def test_labels_count_verdicts_and_a_silent_judge_leaves_k() -> None:
    judge = Fake(lambda rollout: [True, None, False, True][rollout.index])
    points, student = points_and_student(judge)
    assert {(m.s, m.k) for m in measure(points, 4, student)} == {(2, 3)}
    assert judge.batches == [12]


def test_an_alternative_that_ends_without_a_verdict_is_left_out_and_never_a_failure() -> None:
    judge = Fake(lambda rollout: {"a": True, "b": None, "c": False}[rollout.answer or ""])
    points, student = points_and_student(judge)
    found = alternatives(points, 3, 2, student)
    assert [[(a.measured.s, a.measured.k) for a in mine] for mine in found] == [
        [(2, 2), (0, 2)]
    ] * 3
