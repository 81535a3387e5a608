"""A study from the command line: shared stages are run once, processes agree, results stay."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from forethought.cli import main

pytestmark = pytest.mark.slow

TEXT = """
name = "small"
config = "demo/atlas-fast"
seeds = [5]
metrics = ["success", "keyword_lift"]
[set]
"control.arms" = []
"eval.greedy_too" = false
"eval.imagine_k" = 0
"eval.num_tasks" = 20
"control.estimate_tasks" = 20
"rl.updates" = 2
"rl.refit_rollouts" = 0
[factors.sft]
fe = {}
plain = { "sft.blocks" = false, "rl.updates" = 0 }
[factors.rl]
grpo = { "rl.profile" = "grpo" }
causal = {}
[[claims]]
claim = "blocks help"
metric = "success"
cells = { "fe-causal" = 1, "plain-causal" = -1 }
"""


def test_a_study_shares_stages_and_goes_on_where_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "study.toml", tmp_path / "out"
    file.write_text(TEXT)
    assert main(["study", str(file), "--cell", "5-fe-causal", "--out", str(out)]) == 0
    nodes = {path.name.rsplit("-", 1)[0] for path in (out / "nodes").iterdir() if path.is_dir()}
    assert nodes == {"5-base", "5-prepare", "5-midtrain", "5-sft", "5-rl"}
    base = next((out / "nodes").glob("5-base-*/base/model/model.safetensors"))
    before = base.stat().st_mtime_ns
    capsys.readouterr()
    assert main(["study", str(file), "--print-commands", "--out", str(out)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert main(["study", str(file), "--jobs", "2", "--out", str(out), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert base.stat().st_mtime_ns == before
    assert len(list((out / "nodes").glob("5-sft-*/sft/model"))) == 2
    assert len(result["cells"]) == 4 and result["missing"] == [] and result["cpu_min"] > 0
    assert result["verdicts"][0]["verdict"] in ("supported", "refuted", "undecided")
    assert json.loads((out / "study.json").read_text()) == result
    assert main(["study", str(file), "--list", "--out", str(out)]) == 0
    assert capsys.readouterr().out.count("done") == 4
