"""The token view reads what was sampled, or says which line of tokens.jsonl does not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from forethought.cli import main  # noqa: E402
from forethought.config import load_config  # noqa: E402
from forethought.domains.atlas import atlas_tokenizer  # noqa: E402
from forethought.evals.tokens import _model_of  # noqa: E402
from forethought.jsonl import write_json, write_jsonl  # noqa: E402
from forethought.runlog import RunPaths, episode_to_row  # noqa: E402
from forethought.training.policy import Policy  # noqa: E402
from forethought.training.tiny import ModelShape, build_tiny_llama  # noqa: E402
from tests.stats.stats_builders import episode, turn  # noqa: E402

TURN = {"ids": [9], "logprobs": [-0.5], "observation_ids": [8]}
ROW = {"task_id": "a", "rollout": 0, "prompt_ids": [1, 5], "turns": [TURN]}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    paths = RunPaths(tmp_path_factory.mktemp("run"))
    write_json(paths.resolved, load_config("demo/atlas").model_dump(mode="json"))
    write_jsonl(paths.eval_dir("rl") / "episodes.jsonl", [episode_to_row(episode("a", 1, turn()))])
    tokenizer = atlas_tokenizer()
    shape = ModelShape(hidden=8, layers=1, heads=1, kv_heads=1, ffn=8, max_positions=64)
    model = build_tiny_llama(len(tokenizer), shape, seed=0)
    Policy(model=model, tokenizer=tokenizer).save(paths.root / "rl" / "model")
    return paths.root


@pytest.mark.parametrize(
    ("rows", "place"),
    [
        ([], ": got no rows"),
        ([{}], ":1: got no task_id"),
        ([ROW, ROW], ":2: got 2 rollouts"),
        ([{**ROW, "task_id": "b"}], ":1: got b/0 with 1 turns"),
        ([{**ROW, "turns": []}], ":1: got a/0 with 0 turns"),
        ([{**ROW, "turns": [{}]}], ":1: got no turns.0.ids"),
        ([{**ROW, "prompt_ids": ["x"]}], ":1: got prompt_ids.0 = 'x'"),
        ([{**ROW, "prompt_ids": [10**6]}], ":1: got id 1000000"),
        ([{**ROW, "turns": [{**TURN, "logprobs": []}]}], ":1: got turns.0 = "),
        ([{**ROW, "turns": [{**TURN, "ids": [-1]}]}], ":1: got turns.0.ids.0 = -1"),
        ([3], ":1: got a JSON int"),
    ],
)
def test_tokens_that_do_not_fit_are_named(
    run: Path, rows: list[object], place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = RunPaths(run).eval_dir("rl") / "tokens.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["tokens", str(run), "--episode", "a"]) == 2
    said = capsys.readouterr()
    assert f"tokens.jsonl{place}" in said.err and "Next:" in said.err and said.out == ""


@pytest.mark.parametrize(
    ("evaluation", "folder"),
    [
        ("rl", "rl"),
        ("sft-greedy", "sft"),
        ("rl-imagine4", "rl"),
        ("fe-sft-grpo-rl", "fe-sft-grpo/rl"),
        ("fe-sft-grpo-sft-greedy", "fe-sft-grpo/sft"),
    ],
)
def test_the_model_of_an_evaluation_is_that_of_the_last_stage_in_its_name(
    evaluation: str, folder: str
) -> None:
    assert _model_of(RunPaths("run"), evaluation) == RunPaths("run").root / folder / "model"


def test_the_tokens_of_a_control_arm_named_after_a_stage_are_found(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = RunPaths(run)
    shutil.copytree(run / "rl", run / "fe-sft-grpo" / "rl", dirs_exist_ok=True)
    folder = paths.eval_dir("fe-sft-grpo-rl")
    shutil.copytree(paths.eval_dir("rl"), folder, dirs_exist_ok=True)
    (folder / "tokens.jsonl").write_text(json.dumps(ROW) + "\n")
    words = ["tokens", str(run), "--episode", "a", "--eval", "fe-sft-grpo-rl"]
    assert main(words) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
