"""Pooling runs of several seeds, and the record that a published figure rests on."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from forethought.cli import main
from forethought.errors import InputError
from forethought.jsonl import read_json, write_json, write_jsonl, write_text_atomic
from forethought.report.pooled import pool
from forethought.report.record import write_record
from forethought.runlog import RunPaths, episode_to_row
from forethought.stats.bootstrap import paired_difference
from forethought.stats.summary import Labels, summarise
from forethought.types import Episode
from tests.stats.stats_builders import episode, turn


def episodes(seed: int, wins: int) -> list[Episode]:
    """Sixty tasks of which `wins` succeed."""
    return [episode(f"{seed}-{n}", int(n < wins), turn(0.3 + 0.01 * n)) for n in range(60)]


def make_run(root: Path, seed: int, before: int, after: int) -> Path:
    paths = RunPaths(root)
    write_json(paths.resolved, {"name": "r", "seed": seed, "smoke": False})
    write_json(paths.env, {"command": f"forethought demo --seed {seed}"})
    write_text_atomic(paths.config, f"seed = {seed}\n")
    both = {"sft": episodes(seed, before), "rl": episodes(seed, after)}
    for name, rows in both.items():
        write_jsonl(paths.eval_dir(name) / "episodes.jsonl", map(episode_to_row, rows))
        write_json(paths.eval_dir(name) / "summary.json", summarise(rows, Labels(seed=seed)))
    cell = paired_difference(both["rl"], both["sft"], "success", seed=seed)
    assert cell is not None
    losses = {"a": "midtrain", "b": "base", "metric": "block_loss.true"}
    losses |= {
        "diff": -1.0 - seed,
        "lo": -1.3 - seed,
        "hi": -0.7 - seed,
        "p": 0.001,
        "unit": "task",
    }
    rows = [losses, {"a": "rl", "b": "sft", "metric": "success", **cell, "unit": "task"}]
    write_json(
        paths.summary, {"seed": seed, "comparisons": rows, "cpu_s": {"rl": 90.0}, "peak_rss_mb": 7}
    )
    write_jsonl(root / "sft" / "metrics.jsonl", [{"step": 1, "ce_loss": 0.5}])
    return root


def unpacked(file: Path) -> list[Any]:
    return [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return [make_run(tmp_path / "a", 0, 20, 30), make_run(tmp_path / "b", 1, 18, 24)]


def test_pooled_figures_are_means_over_seeds_with_tasks_resampled_inside(runs: list[Path]) -> None:
    summary = pool(runs)
    success = summary["evaluations"]["rl"]["success"]
    assert success["value"] == pytest.approx((30 + 24) / 120) and success["n"] == 120
    losses, row = summary["comparisons"]
    assert row["diff"] == pytest.approx((10 + 6) / 120)
    single = [read_json(RunPaths(run).summary)["comparisons"][1] for run in runs]
    widths = [cell["hi"] - cell["lo"] for cell in single]
    assert row["hi"] - row["lo"] == pytest.approx((sum(w**2 for w in widths) ** 0.5) / 2, rel=0.15)
    assert row["lo_seeds"] <= row["lo"] + 0.02
    assert losses["diff"] == -1.5 and losses["hi"] - losses["lo"] == pytest.approx(0.6 / 2**0.5)


def test_two_runs_of_one_seed_are_refused(runs: list[Path]) -> None:
    with pytest.raises(InputError, match="one run a seed"):
        pool([runs[0], runs[0]])


def test_a_record_of_one_run_holds_every_episode_and_curve(runs: list[Path]) -> None:
    out = runs[0].parent / "records" / "one"
    files = {path.name for path in write_record(runs[:1], out)}
    names = {"command.txt", "config.toml", "env.json", "summary.json"}
    assert files == names | {"metrics.jsonl.gz", "episodes.jsonl.gz"}
    rows = unpacked(out / "episodes.jsonl.gz")
    assert len(rows) == 120 and {row["evaluation"] for row in rows} == {"sft", "rl"}
    metrics = unpacked(out / "metrics.jsonl.gz")
    assert metrics == [{"arm": "full", "stage": "sft", "step": 1, "ce_loss": 0.5}]
    with pytest.raises(InputError, match="a folder with files"):
        write_record(runs[:1], out)


def test_records_of_equal_runs_have_equal_bytes(runs: list[Path]) -> None:
    one, two = (runs[0].parent / name for name in ("x", "y"))
    for out in (one, two):
        write_record(runs[:1], out)
    for file in one.iterdir():
        assert file.read_bytes() == (two / file.name).read_bytes()


def test_report_pools_several_runs_and_records_them(
    runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    out = runs[0].parent / "record"
    assert main(["report", *map(str, runs), "--record", str(out)]) == 0
    assert read_json(out / "summary.json")["seeds"] == [0, 1]
    assert (out / "seed-1" / "episodes.jsonl.gz").is_file()
    assert (out / "command.txt").read_text().count("forethought demo --seed") == 2
    capsys.readouterr()
    assert main(["report", *map(str, runs)]) == 0
    assert "seeds 0, 1: means" in capsys.readouterr().out
