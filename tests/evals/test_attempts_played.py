"""Several attempts at a task: what plays them, and what plays a task once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from forethought.cli import main
from forethought.config import load_config
from forethought.errors import InputError
from forethought.evals.run import EvalSetting
from forethought.stages import evaluate
from forethought.stages.context import open_run


def test_eval_takes_the_attempts_of_the_configuration_unless_told(tmp_path: Path) -> None:
    command = ["eval", "demo/atlas-fast", "--model", "reactive", "--num", "3"]
    assert main([*command, "--eval.attempts", "4", "--out", str(tmp_path / "a")]) == 0
    several = json.loads((tmp_path / "a" / "summary.json").read_text("utf-8"))
    assert (several["num_tasks"], several["num_rollouts"]) == (3, 12)
    assert {"mean_at_4", "pass_at_2", "pass_at_4"} <= set(several["metrics"])
    told = [*command, "--eval.attempts", "4", "--samples", "1", "--out", str(tmp_path / "b")]
    assert main(told) == 0
    once = json.loads((tmp_path / "b" / "summary.json").read_text("utf-8"))
    assert once["num_rollouts"] == 3 and "pass_at_4" not in once["metrics"]


def test_a_run_plays_several_attempts_at_its_temperature_and_one_greedily(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played: dict[str, int] = {}

    def note(setting: EvalSetting, *_: Any) -> list[Any]:
        played[setting.label] = setting.samples
        return []

    class Nobody:
        def sha256(self) -> str:
            return ""

    monkeypatch.setattr(evaluate, "play", note)
    monkeypatch.setattr(evaluate, "judge_all", lambda *_: [])
    monkeypatch.setattr(evaluate, "backend_for", lambda *_: None)
    config = load_config("demo/atlas-fast", {"eval.attempts": "3", "eval.num_tasks": "2"})
    config = config.model_copy(
        update={"eval": config.eval.model_copy(update={"greedy_too": True, "imagine_k": 4})}
    )
    context = replace(open_run(config, tmp_path / "run", resume=False), resume=False)
    policy: Any = Nobody()
    evaluate.evaluate_stage(context, policy, "sft")
    assert played == {"sft": 3, "sft-greedy": 1, "sft-imagine4": 1}


@pytest.mark.parametrize("mode", ["adaptive", "filler", "escalate-40-4"])
def test_modes_that_play_a_task_once_are_refused_with_several(mode: str) -> None:
    with pytest.raises(InputError, match="plays a task once"):
        load_config("demo/atlas-fast", {"eval.attempts": "3", "eval.mode": mode})
    load_config("demo/atlas-fast", {"eval.attempts": "3", "eval.mode": "abstain-40"})
