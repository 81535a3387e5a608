"""Stage 0 and every stage on the shipped rows of public sets, with a model that knows nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from forethought.cli import main
from forethought.hindsight.records import read_labelled
from forethought.jsonl import read_json, read_jsonl
from forethought.runlog import read_episodes
from forethought.stages import forecast
from forethought.training.policy import Policy
from forethought.training.tiny import ModelShape, build_tiny_llama
from tests.domains.qa_builders import overrides, qa_domain
from tests.training.training_builders import byte_tokenizer

SHAPE = ModelShape(hidden=16, layers=1, heads=2, kv_heads=1, ffn=16, max_positions=8192)
SIZES = {
    "model.train_last_layers": "0",
    "data.page_chars": "300",
    "rollout.top_k_documents": "1",
    "rollout.max_turns": "4",
    "rollout.max_turn_tokens": "8",
    "rollout.max_context_tokens": "8000",
    **{f"{stage}.micro_batch_tokens": "9000" for stage in ("base", "midtrain", "sft", "rl")},
    "base.warmup_episodes": "6",
    "prepare.num_episodes": "8",
    "prepare.continuations": "1",
    "sft.num_episodes": "6",
    "sft.epochs": "1",
    "rl.updates": "1",
    "rl.prompts": "2",
    "rl.group_size": "2",
    "eval.num_tasks": "3",
    "eval.num_blocks": "3",
    "eval.resamples": "20",
}


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Overrides of a tiny run, as the command line takes them."""
    folder = tmp_path_factory.mktemp("model")
    tokenizer = byte_tokenizer()
    Policy(build_tiny_llama(len(tokenizer), SHAPE, 0), tokenizer).save(folder)
    dotted = {**overrides(), **SIZES, "model.name": str(folder)}
    return [word for key, value in dotted.items() for word in (f"--{key}", value)]


def test_stage_0_writes_what_it_found_and_counts_what_it_refused(
    words: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    assert main(["prepare", "search/multihop-smollm2", "--out", str(out), *words]) == 0
    report = read_json(out / "prepare" / "report.json")
    items = read_labelled(out / "prepare" / "trajectories.jsonl", report["kept"])
    assert report["trajectories"] == 8 and 0 < report["success"] < 1
    found = qa_domain(data__page_chars="300", rollout__top_k_documents="1", rollout__max_turns="4")
    made = found.trajectories(8, None)
    assert report["kept"] == len(items) > 4
    assert all(item.trajectory in made for item in items)
    assert all(label.source == "outcome" for item in items for label in item.labels)
    rows = [row for _, row in read_jsonl(out / "prepare" / "steps.jsonl")]
    assert len(rows) == sum(each.num_calls for each in made)
    refused = {row["task_id"] for row in rows if any(row["filters"].values())}
    assert report["kept"] == sum(each.task.id not in refused for each in made)
    assert all("decomposition" not in row and "paragraphs" not in row for row in rows)


def test_a_run_goes_through_all_stages(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecast, "BUDGET_S", 0.0)
    out = tmp_path / "run"
    assert main(["run", "search/multihop-smollm2", "--out", str(out), *words]) == 0
    summary = read_json(out / "summary.json")
    assert {row["stage"] for row in summary["stages"]} == {"base", "midtrain", "sft", "rl"}
    episodes = read_episodes(out / "evals/rl/episodes.jsonl")
    assert len(episodes) == 3 and {e.split for e in episodes} == {"test"}
    assert all(e.env == "search_qa" and e.error is None for e in episodes)
    shown = read_episodes(out / "examples.jsonl")
    assert {e.success for e in shown} == {0, 1} and all(t.format_ok for e in shown for t in e.turns)
    assert (out / "page.html").is_file()
