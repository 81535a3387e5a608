"""Every stage on the world of sums, far too briefly to learn anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from forethought.cli import main
from forethought.jsonl import read_json
from forethought.runlog import read_episodes

TINY = {
    "model.hidden": "32",
    "model.layers": "1",
    "model.ffn": "32",
    "base.drill_tokens": "2000",
    "base.episode_tokens": "4000",
    "base.min_copy_accuracy": "0",
    "base.gate_tasks": "2",
    "prepare.num_episodes": "12",
    "prepare.branch_states": "2",
    "prepare.alternatives": "2",
    "sft.num_episodes": "12",
    "rl.updates": "1",
    "rl.prompts": "2",
    "rl.group_size": "2",
    "eval.num_tasks": "4",
    "eval.num_blocks": "4",
    "eval.imagine_k": "2",
}


@pytest.mark.slow
def test_a_run_goes_through_all_stages(tmp_path: Path) -> None:
    sizes = [word for name, value in TINY.items() for word in (f"--{name}", value)]
    demo = ["demo", "--world", "workbook", "--fast", "--controls", "none"]
    assert main([*demo, "--out", str(tmp_path / "run"), *sizes]) == 0
    summary = read_json(tmp_path / "run" / "summary.json")
    assert {row["stage"] for row in summary["stages"]} == {"base", "midtrain", "sft", "rl"}
    episodes = read_episodes(tmp_path / "run/evals/rl/episodes.jsonl")
    assert len(episodes) == 4
    assert all(e.env == "workbook" and e.error is None and e.choice for e in episodes)
    assert all(e.turns[0].oracle_p is not None for e in episodes)
    assert (tmp_path / "run/page.html").is_file()
