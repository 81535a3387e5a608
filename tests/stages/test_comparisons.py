"""Each stage is compared with the checkpoint before it: sampled and greedy, controls too."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

torch = pytest.importorskip("torch")

from forethought.jsonl import write_jsonl  # noqa: E402
from forethought.runlog import RunPaths, episode_to_row  # noqa: E402
from forethought.schema import RunConfig  # noqa: E402
from forethought.stages.comparisons import compare_stages, pairs_of  # noqa: E402
from forethought.stages.context import Context  # noqa: E402
from tests.stats.stats_builders import episode, turn  # noqa: E402

CHAIN = [
    ("midtrain", "base"),
    ("sft", "midtrain"),
    ("rl", "sft"),
    ("fe-sft-grpo-sft", "base"),
    ("fe-sft-grpo-rl", "fe-sft-grpo-sft"),
]


def test_every_stage_meets_the_checkpoint_before_it_sampled_and_greedy() -> None:
    pairs = pairs_of(["fe-sft-grpo"], 4)
    assert set(CHAIN) <= set(pairs)
    assert {(f"{a}-greedy", f"{b}-greedy") for a, b in CHAIN} <= set(pairs)
    assert ("rl-imagine4", "rl") in pairs and ("rl", "fe-sft-grpo-rl") in pairs
    assert len(set(pairs)) == len(pairs)


def test_an_arm_that_is_only_prompted_has_no_stages_to_compare() -> None:
    pairs = pairs_of(["plain-grpo", "prompted"], 4)
    assert ("plain-grpo-rl", "plain-grpo-sft") in pairs and ("rl", "plain-grpo-rl") in pairs
    assert ("sft", "prompted-base") in pairs and ("rl", "prompted-base") in pairs
    assert not any("prompted-sft" in pair or "prompted-rl" in pair for pair in pairs)


def test_pairs_are_compared_where_both_evaluations_are_there(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    stages: list[dict[str, Any]] = []
    wins = {"base": 0, "base-greedy": 0, "midtrain-greedy": 1, "fe-sft-grpo-sft": 1}
    for name, success in wins.items():
        rows = [episode(str(n), success, turn()) for n in range(4)]
        write_jsonl(paths.eval_dir(name) / "episodes.jsonl", map(episode_to_row, rows))
        arm = "fe-sft-grpo" if name.startswith("fe-sft-grpo") else "full"
        stages.append({"arm": arm, "eval": name})
    context = cast(Context, SimpleNamespace(config=RunConfig(), paths=paths))
    rows_found = [row for row in compare_stages(context, stages) if row["metric"] == "success"]
    assert [(row["a"], row["b"], row["diff"]) for row in rows_found] == [
        ("fe-sft-grpo-sft", "base", 1.0),
        ("midtrain-greedy", "base-greedy", 1.0),
    ]
