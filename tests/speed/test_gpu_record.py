"""The parts of a GPU record at toy sizes on a CPU: what they check can fail, and they resume."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from speed_builders import ROOT

from forethought.rollout.hf.static import StaticSteps

QUICK = ("correctness", "rollout", "train")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The scripts as modules."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # a part sets it
    names = ("record", "cells", "checks", "train", "rollout", "page")
    return SimpleNamespace(**{n: importlib.import_module(f"gpu_{n}") for n in names})


def run(gpu: Any, part: str, out: Path, *more: str) -> int:
    words = [part, "--out", str(out), "--quick", "--device", "cpu", *more]
    code: int = gpu.record.main(words)
    return code


def cells(out: Path, part: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / f"{part}.json").read_text())["cells"]
    return found


def test_quick_parts_pass_and_nothing_is_measured_twice(
    gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in QUICK:
        assert run(gpu, part, tmp_path) == 0
    checked = cells(tmp_path, "correctness")
    assert len(checked) == 2 * (len(gpu.checks.CHECKS) + len(gpu.checks.LAST_CHECKS))
    assert all(cell.get("ok") or "skipped" in cell for cell in checked.values())
    assert checked["tiny-llama/gradients"]["shared_tokens"] > 0
    speeds = {**cells(tmp_path, "rollout"), **cells(tmp_path, "train")}
    assert all(c["tokens_per_s"] > 0 for name, c in speeds.items() if "/" in name)
    assert speeds["ceilings"]["copy_gb_s"] > 0
    page = gpu.page.write_page(tmp_path)
    assert "14 of 14 checks; all passed" in page and "Not run: pipeline." in page
    assert "no record" in page
    before = [cells(tmp_path, part) for part in QUICK]
    monkeypatch.setattr(gpu.cells, "build", None)
    assert [run(gpu, part, tmp_path) for part in QUICK] == [0, 0, 0]
    assert [cells(tmp_path, part) for part in QUICK] == before


def only(gpu: Any, monkeypatch: pytest.MonkeyPatch, *checks: str) -> None:
    """One model and few checks."""
    monkeypatch.setattr(gpu.checks, "models", lambda quick: ("tiny-llama",))
    monkeypatch.setattr(gpu.checks, "CHECKS", {name: gpu.checks.CHECKS[name] for name in checks})
    monkeypatch.setattr(gpu.checks, "LAST_CHECKS", {})


def test_a_part_begins_no_cell_when_its_time_is_up_and_goes_on_later(
    gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(gpu, monkeypatch, "greedy")
    assert run(gpu, "correctness", tmp_path, "--minutes", "0") == gpu.cells.LEFT
    assert not (tmp_path / "correctness.json").exists()
    assert run(gpu, "correctness", tmp_path) == 0


def test_a_broken_recording_fails_the_checks_of_rollouts(
    gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = StaticSteps.step

    def replacing(self: StaticSteps, ids: torch.Tensor) -> torch.Tensor:
        logits = step(self, ids)
        self._buffers = replace(self._all, positions=self._all.positions.clone())
        return logits

    monkeypatch.setattr(StaticSteps, "step", replacing)
    names = ("greedy", "recorded beside growing", "log-probabilities")
    only(gpu, monkeypatch, *names)
    assert run(gpu, "correctness", tmp_path) == 1
    assert [cell["ok"] for cell in cells(tmp_path, "correctness").values()] == [False] * 3
    page = gpu.page.write_page(tmp_path)
    assert "0 of 3 checks; failed: tiny-llama/greedy" in page and "| FAILED |" in page


def test_a_gradient_that_is_a_hundredth_off_fails_its_check(
    gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = gpu.checks.plain_loss
    monkeypatch.setattr(gpu.checks, "plain_loss", lambda *args: 1.01 * true(*args))
    only(gpu, monkeypatch, "gradients")
    assert run(gpu, "correctness", tmp_path) == 1
    (cell,) = cells(tmp_path, "correctness").values()
    assert cell["packed_gap"] == pytest.approx(0.01 / 1.01, rel=0.02)


def test_an_error_is_kept_and_tried_again(
    gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(gpu, monkeypatch, "greedy")
    peer = gpu.checks.peer

    def broken(*_: Any) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(gpu.checks, "peer", broken)
    assert run(gpu, "correctness", tmp_path) == 1
    assert "out of memory" in cells(tmp_path, "correctness")["tiny-llama/greedy"]["error"]
    assert "Error in correctness: tiny-llama/greedy" in gpu.page.write_page(tmp_path)
    monkeypatch.setattr(gpu.checks, "peer", peer)
    assert run(gpu, "correctness", tmp_path) == 0


def test_the_pipeline_runs_the_demo_on_the_device_and_tells_what_stopped_it(
    gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[list[str], str]] = []

    def failing(words: list[str], **options: Any) -> Any:
        asked.append((words[3:5], options["env"]["FORETHOUGHT_DEVICE"]))
        return subprocess.CompletedProcess(words, 3, "", "demo: no such stage\n")

    monkeypatch.setattr(gpu.record.subprocess, "run", failing)
    assert run(gpu, "pipeline", tmp_path, "--scratch", str(tmp_path / "runs")) == 1
    assert asked == [(["demo", "--fast"], "cpu")] * 2
    found = cells(tmp_path, "pipeline")
    assert [cell["error"] for cell in found.values()] == ["exit code 3: demo: no such stage"] * 2


def test_files_of_other_machines_are_not_mixed(gpu: Any, tmp_path: Path) -> None:
    cell = {"schema": gpu.cells.SCHEMA, "quick": True, "machine": {}, "cells": {}}
    (tmp_path / "train.json").write_text(json.dumps({**cell, "part": "train", "device": "X"}))
    with pytest.raises(SystemExit, match="choose another --out"):
        run(gpu, "train", tmp_path)
    other = {**cell, "part": "rollout", "device": "Y"}
    (tmp_path / "rollout.json").write_text(json.dumps(other))
    with pytest.raises(SystemExit, match="different machines"):
        gpu.page.write_page(tmp_path)


def test_verdicts_come_from_the_figures(gpu: Any, tmp_path: Path) -> None:
    rollout = {
        "ceilings": {"copy_gb_s": 4000.0, "matmul_tflop_s": 700.0},
        "m/64/recorded": {"tokens_per_s": 300.0, "captures": 3, "first_s": 2.0},
        "m/64/generate": {"tokens_per_s": 100.0},
        "m/64/limit": {"tokens_per_s": 600.0},
        "m/256/recorded": {"tokens_per_s": 90.0, "captures": 3, "first_s": 2.0},
        "m/256/generate": {"tokens_per_s": 100.0},
    }
    train = {
        "m/packed 8 x 4": {"tokens_per_s": 10.0},
        "m/packed 16 x 4": {"tokens_per_s": 30.0},
        "m/padded 8": {"tokens_per_s": 20.0},
    }
    for name, found in (("rollout", rollout), ("train", train)):
        head = {"schema": gpu.cells.SCHEMA, "part": name, "device": "X", "quick": False}
        (tmp_path / f"{name}.json").write_text(json.dumps({**head, "machine": {}, "cells": found}))
    page = gpu.page.write_page(tmp_path)
    assert "0.90 to 3.00 times" in page and "NOT quicker at every size" in page
    assert "1.50 to 1.50 times" in page and "quicker for every model" in page
    assert "| m, 64 | 300 | - | 100 | 3 | 600 | 0.5 | 3 | 2 |" in page
    assert "no record" not in page and "Not run: correctness, pipeline." in page
    with pytest.raises(SystemExit, match="holds none"):
        gpu.page.write_page(tmp_path / "nowhere")


def test_needed_operations_count_heads_only_where_there_is_a_loss(gpu: Any) -> None:
    on = gpu.cells.Machine(torch.device("cpu"), True)
    model = gpu.cells.build("tiny-llama", on)
    (one,) = gpu.train.ragged_batch(model, num=1, most=5)
    trained = sum(weight != 0 for weight in one.ce_weight)
    layers = sum(p.numel() for name, p in model.named_parameters() if "embed" not in name)
    tokens = len(one.ids)
    expected = 6 * (layers * tokens + 331 * 32 * trained) + 12 * 2 * 32 * tokens * (tokens + 1) / 2
    assert gpu.train.needed_flop(model, [one]) == expected


def test_parts_but_the_pipeline_need_no_more_than_torch_transformers_and_numpy() -> None:
    names = ("pydantic", "bm25s", "math_verify", "gguf", "rich")
    code = f"import sys; sys.modules.update(dict.fromkeys({names})); "
    code += "import gpu_record, gpu_checks, gpu_rollout, gpu_train, gpu_page"
    path = f"{ROOT / 'benchmarks'}{os.pathsep}{ROOT}"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": path})
