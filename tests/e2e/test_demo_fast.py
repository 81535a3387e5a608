"""The demo in its smallest form, through the command line: every stage really runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from forethought.cli import main
from forethought.jsonl import read_json

DEMO = ["demo", "--fast", "--controls", "all", "--control.estimate_tasks", "20"]
COST = ("peak_rss_mb", "command", "cpu_s", "wall_s")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "run"
    assert main([*DEMO, "--out", str(out)]) == 0
    return out


def test_every_stage_leaves_a_model_and_an_evaluation(run: Path) -> None:
    for stage in ("base", "midtrain", "sft", "rl", "fe-sft-grpo/sft", "fe-sft-grpo/rl"):
        assert (run / stage / "model" / "model.safetensors").is_file(), stage
    for name in ("base", "midtrain", "sft", "rl", "sft-imagine4", "fe-sft-grpo-rl"):
        assert (run / "evals" / name / "summary.json").is_file(), name


def test_the_arm_without_blocks_states_an_estimate_that_eval_finds_again(
    run: Path, tmp_path: Path
) -> None:
    assert (run / "evals" / "prompted-base" / "summary.json").is_file()
    made = read_json(run / "evals" / "plain-grpo-rl" / "summary.json")["metrics"]
    assert made["brier_skill_expected.first"]["n"] == made["success"]["n"]
    assert made["q_missing"]["value"] == 1.0
    words = ["--model", str(run / "plain-grpo" / "rl"), "--out", str(tmp_path / "e")]
    assert main(["eval", "demo/atlas-fast", *words, "--num", "5"]) == 0
    rows = (tmp_path / "e" / "episodes.jsonl").read_text().splitlines()
    again = [turn for row in rows for turn in json.loads(row)["turns"]]
    assert again and all(turn["q_expected"] is not None for turn in again)
    assert all(turn["foresight"] is None for turn in again)


def test_the_summary_is_marked_as_a_smoke_and_names_the_dose(run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    assert summary["schema"] == "forethought.run/1"
    assert summary["smoke"] is True
    assert summary["dose"]["full"] == summary["dose"]["midtrain"] + summary["dose"]["sft"]
    assert {row["a"] for row in summary["comparisons"]} >= {"rl", "sft"}


def test_the_page_stands_alone_and_says_that_it_is_a_smoke(run: Path) -> None:
    page = (run / "page.html").read_text()
    assert "smoke" in page.lower()
    assert 'src="http' not in page and 'href="http' not in page


def test_every_step_record_has_a_measured_label_and_three_placebos(run: Path) -> None:
    lines = (run / "prepare" / "steps.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) >= 60
    sources = {row["label"]["source"] for row in rows}
    assert sources <= {"monte_carlo", "outcome"} and "monte_carlo" in sources
    for row in rows:
        assert set(row["placebo"]) == {"shuffled", "blind", "constant"}
        assert row["label"]["k"] >= 1


def test_the_token_view_adds_up_to_the_whole_sequence(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = json.loads((run / "evals" / "rl" / "episodes.jsonl").read_text().splitlines()[0])
    capsys.readouterr()
    assert main(["tokens", str(run), "--episode", first["task_id"]]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    counts = first["tokens"]
    assert len(rows) == counts["prompt"] + counts["sampled"] + counts["observation"]
    assert sum(row["sampled"] for row in rows) == counts["sampled"]
    assert all(row["ce_weight"] == 0 for row in rows if not row["sampled"])


def test_a_second_demo_reads_the_finished_run_instead_of_training_again(run: Path) -> None:
    before = (run / "rl" / "model" / "model.safetensors").stat().st_mtime_ns
    cost = {key: read_json(run / "summary.json")[key] for key in COST}
    assert main([*DEMO, "--out", str(run)]) == 0
    assert (run / "rl" / "model" / "model.safetensors").stat().st_mtime_ns == before
    assert {key: read_json(run / "summary.json")[key] for key in COST} == cost


def test_probe_reports_every_intervention_and_names_what_it_cannot_do(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["probe", str(run), "--num", "8", "--samples", "2", "--out", str(tmp_path / "p")]
    assert main([*words, "--do", "delete,swap,q=95", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [row["do"] for row in result["interventions"]] == ["delete", "swap", "q=95"]
    assert result["interventions"][0]["first_action"] is None
    assert (tmp_path / "p" / "q-95" / "episodes.jsonl").is_file()
    assert main([*words, "--do", "q=93"]) == 2
    assert main(["probe", str(tmp_path), "--out", str(tmp_path / "x")]) == 2
