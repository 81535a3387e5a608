"""benchmarks/demo.py: two checkouts in turns, stages from their runs, totals from the system."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from speed_builders import check_rows, script

from forethought.training.tiny import ModelShape, build_tiny_llama

FAKE = """
import json, pathlib, sys
words = sys.argv[1:]
assert words[0] == "demo" and words[words.index("--controls") + 1] == "none"
out = pathlib.Path(words[words.index("--out") + 1])
(out / "sft").mkdir(parents=True)
seed = int(words[words.index("--seed") + 1])
assert "--fast" in words and words[-2:] == ["--sft.epochs", "1"]
spent = {"sft": SECONDS + seed, "eval-sft": 0.0}
(out / "summary.json").write_text(json.dumps({"cpu_s": spent}))
shape = {"hidden": 8, "layers": 2, "heads": 2, "kv_heads": 1, "ffn": 16}
(out / "resolved.json").write_text(json.dumps({"model": shape}))
row = {"step": 1, "forwarded_tokens": 1e8}
(out / "sft" / "metrics.jsonl").write_text(json.dumps(row) + "\\n" + json.dumps(row) + "\\n")
"""


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> Any:
    return script(monkeypatch, "demo")


def checkout(folder: Path, seconds: float) -> Path:
    """A checkout whose demo only writes what the benchmark reads."""
    package = folder / "forethought"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(FAKE.replace("SECONDS", str(seconds)))
    return folder


def test_two_checkouts_are_compared_stage_by_stage(
    demo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "ROOT", checkout(tmp_path / "a", 10.0))
    other = checkout(tmp_path / "b", 40.0)
    out = tmp_path / "demo.json"
    words = ["--quick", "--pairs", "2", "--seed", "0", "--beside", str(other), "--json", str(out)]
    assert demo.main([*words, "--sft.epochs", "1"]) == 0
    found = json.loads(out.read_text())
    check_rows(found["rows"])
    stage, counted, total = found["rows"]
    assert [row["x"]["stage"] for row in found["rows"]] == ["sft", "speedrun", "total"]
    assert counted["ours"] == stage["ours"] and counted["peer"]["median"] == 40.5
    assert stage["ours"] == {"median": 10.5, "min": 10.0, "max": 11.0, "unit": "CPU s"}
    assert stage["peer"]["median"] == 40.5 and "limit" not in total
    assert total["ours"]["median"] < 5  # of the system, not of the run's own word
    assert found["keys"] == ["--sft.epochs", "1"] and found["pairs"] == 2


def test_a_folder_without_the_package_is_refused(demo: Any, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"instead|exit code"):
        demo.check_checkout(tmp_path)


def test_the_weights_of_the_layers_are_those_of_the_model(demo: Any) -> None:
    shape = ModelShape(hidden=32, layers=3, heads=4, kv_heads=2, ffn=48)
    model = build_tiny_llama(50, shape, seed=0)
    matrices = [p for name, p in model.named_parameters() if "layers" in name and p.ndim == 2]
    sizes = {"hidden": 32, "layers": 3, "heads": 4, "kv_heads": 2, "ffn": 48}
    assert demo.layer_weights(sizes) == sum(p.numel() for p in matrices)
    assert demo.speed(64, 2) > 0
