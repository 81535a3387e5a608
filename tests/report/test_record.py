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
from forethought.stats.blocks import block_loss_draws
from forethought.stats.bootstrap import difference, paired_draws
from forethought.stats.summary import Labels, summarise
from forethought.types import Episode, JsonRow
from tests.stats.stats_builders import episode, turn


def episodes(seed: int, wins: int) -> list[Episode]:
    """Sixty tasks of which `wins` succeed."""
    return [episode(f"{seed}-{n}", int(n < wins), turn(0.3 + 0.01 * n)) for n in range(60)]


def block_row(fall: float, number: int) -> JsonRow:
    """A held-out block whose loss fell by about 1 + `fall` where its future was true."""
    before = 3.0 + 0.1 * (number % 5)
    after = {"true": before - 1.0 - fall - 0.2 * (number % 3 - 1), "shuffled": before - 0.5}
    row = {kind: {"before": before, "after": value} for kind, value in after.items()}
    return {"task_id": f"t{number}", "step": 0, **row}


def make_run(root: Path, seed: int, before: int, after: int) -> Path:
    paths = RunPaths(root)
    write_json(paths.resolved, {"name": "r", "seed": seed, "smoke": False})
    env = {"schema": "forethought.env/1", "command": f"forethought demo --seed {seed}"}
    write_json(paths.env, {**env, "sha256": {}})
    write_text_atomic(paths.config, f"seed = {seed}\n")
    both = {"sft": episodes(seed, before), "rl": episodes(seed, after)}
    for name, rows in both.items():
        write_jsonl(paths.eval_dir(name) / "episodes.jsonl", map(episode_to_row, rows))
        write_json(paths.eval_dir(name) / "summary.json", summarise(rows, Labels(seed=seed)))
    blocks = [block_row(float(seed), n) for n in range(40)]
    write_jsonl(paths.blocks, blocks)
    losses = block_loss_draws(blocks, seed=seed)["block_loss.true"]
    success = paired_draws(both["rl"], both["sft"], ["success"], seed=seed)["success"]
    rows = [
        {"a": "midtrain", "b": "base", "metric": "block_loss.true", **(difference(losses) or {})},
        {"a": "rl", "b": "sft", "metric": "success", **(difference(success) or {})},
    ]
    summary = {"schema": "forethought.run/1", "seed": seed, "comparisons": rows}
    write_json(paths.summary, {**summary, "cpu_s": {"rl": 90.0}, "peak_rss_mb": 7})
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
    single = [read_json(RunPaths(run).summary)["comparisons"] for run in runs]
    assert losses["diff"] == pytest.approx(sum(cells[0]["diff"] for cells in single) / 2)
    for number, found in enumerate((losses, row)):
        # Tasks of different seeds are independent: half-widths add in quadrature.
        widths = [cells[number]["hi"] - cells[number]["lo"] for cells in single]
        width = (sum(w**2 for w in widths) ** 0.5) / 2
        assert found["hi"] - found["lo"] == pytest.approx(width, rel=0.15)
        assert found["lo_seeds"] <= found["lo"] + 0.02
    # Two seeds one nat apart: over seeds the interval reaches from one to the other.
    assert losses["lo_seeds"] < -1.9 and losses["hi_seeds"] > -1.1


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


@pytest.mark.parametrize("words", [["evals/rl"], [".", "evals/rl"], ["records"], ["nothing"], []])
def test_only_run_folders_are_recorded_and_nothing_is_written_for_others(
    runs: list[Path], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    write_record(runs[:1], runs[0] / "records")
    out = runs[0].parent / "new"
    readme = runs[0].parent / "README.md"
    readme.write_text("no figures\n")
    paths = [str(runs[0] / word) for word in words] or ["--check", str(readme)]
    assert main(["report", *paths, "--record", str(out)]) == 2
    said = capsys.readouterr()
    assert "expected the folder of a finished run" in said.err and "Next:" in said.err
    assert words == [] or str(runs[0] / words[-1]) in said.err
    assert said.out == "" and not out.exists()


def test_records_are_reported_like_runs(
    runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    one, both = runs[0].parent / "one", runs[0].parent / "both"
    write_record(runs[:1], one)
    write_record(runs, both)
    for path, shown in ((one, "CPU 1.5 min"), (both, "seeds 0, 1"), (both / "seed-1", "CPU")):
        assert main(["report", str(path)]) == 0
        assert shown in capsys.readouterr().out


def test_a_record_is_no_file(runs: list[Path]) -> None:
    with pytest.raises(InputError, match="a file"):
        write_record(runs[:1], runs[0] / "config.toml")
    (runs[0] / "config.toml").unlink()
    with pytest.raises(InputError, match=r"config\.toml: got no such file"):
        write_record(runs[:1], runs[0].parent / "new")
