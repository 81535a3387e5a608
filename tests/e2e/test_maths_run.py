"""Every stage on public maths sets, with a model that knows nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from forethought.cli import main
from forethought.hindsight.records import read_labelled
from forethought.jsonl import read_json
from forethought.runlog import read_episodes
from forethought.training.policy import Policy
from forethought.training.tiny import ModelShape, build_tiny_llama
from tests.training.training_builders import byte_tokenizer

FIXTURES = Path(__file__).parents[1] / "fixtures"
SHAPE = ModelShape(hidden=16, layers=1, heads=2, kv_heads=1, ffn=16, max_positions=8192)
SIZES = {
    "data.source": "maths",
    "model.train_last_layers": "0",
    "rollout.max_turns": "3",
    "rollout.max_turn_tokens": "8",
    "rollout.max_context_tokens": "4000",
    **{f"{stage}.micro_batch_tokens": "5000" for stage in ("base", "midtrain", "sft", "rl")},
    "base.warmup_episodes": "4",
    "prepare.num_episodes": "8",
    "prepare.continuations": "1",
    "sft.num_episodes": "6",
    "sft.epochs": "1",
    "rl.updates": "1",
    "rl.prompts": "2",
    "rl.group_size": "2",
    "rl.terms": '["maths_paper"]',
    "eval.num_tasks": "3",
    "eval.num_blocks": "3",
    "eval.resamples": "20",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    tokenizer = byte_tokenizer()
    Policy(build_tiny_llama(len(tokenizer), SHAPE, 0), tokenizer).save(folder)
    return str(folder)


def words(model: str, entries: list[str], **more: str) -> list[str]:
    dotted = {**SIZES, "model.name": model, "data.benchmarks": json.dumps(entries)}
    dotted |= {key.replace("__", "."): value for key, value in more.items()}
    return [word for key, value in dotted.items() for word in (f"--{key}", value)]


def test_a_run_on_gsm8k_measured_on_math_goes_through_all_stages(
    model: str, tmp_path: Path
) -> None:
    train = tmp_path / "gsm8k_train.jsonl"
    train.write_bytes((FIXTURES / "gsm8k.jsonl").read_bytes())
    entries = [f"gsm8k:{train}", f"math500:{FIXTURES / 'hub' / 'math500.jsonl'}"]
    out = tmp_path / "run"
    assert main(["run", "maths/gsm8k-smollm2", "--out", str(out), *words(model, entries)]) == 0
    summary = read_json(out / "summary.json")
    assert {row["stage"] for row in summary["stages"]} == {"base", "midtrain", "sft", "rl"}
    episodes = read_episodes(out / "evals/rl/episodes.jsonl")
    assert len(episodes) == 3 and {e.split for e in episodes} == {"test"}
    assert all(e.env == "maths" and e.error is None for e in episodes)
    assert all(e.task_id.startswith("math500/") for e in episodes)


def test_a_set_without_annotations_goes_on_from_recorded_attempts(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {"A pot costs 4 dollars. What do six cost?": "24", "What is $7 \\cdot 6$?": "42",
             "What is $9^2$?": "81"}  # fmt: skip
    train = tmp_path / "mix_train.jsonl"
    rows = [{"problem": problem, "answer": answer} for problem, answer in asked.items()]
    train.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    entries = [f"plain-maths:{train}", f"math:{FIXTURES / 'hub' / 'math.jsonl'}"]
    out = tmp_path / "run"
    flags = words(model, entries, base__warmup_episodes="0")
    assert main(["prepare", "maths/gsm8k-smollm2", "--out", str(out), *flags]) == 2
    assert "--import" in capsys.readouterr().err
    attempts = ["--import", str(FIXTURES / "import" / "tora.jsonl"), "--format", "tora"]
    assert main(["prepare", "maths/gsm8k-smollm2", "--out", str(out), *flags, *attempts]) == 0
    items = read_labelled(out / "prepare" / "trajectories.jsonl")
    assert {item.trajectory.success for item in items} == {True, False}
    for stage in ("midtrain", "sft", "rl"):
        assert main([stage, "maths/gsm8k-smollm2", "--out", str(out), *flags]) == 0, stage
    assert (out / "rl" / "model").is_dir()
