"""`diff` pairs attempts of the same task and number, and says who won what."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from forethought.cli import main
from forethought.jsonl import write_json, write_jsonl
from forethought.report.paired import compare
from forethought.runlog import episode_to_row
from forethought.stats.summary import Labels, summarise
from forethought.types import Episode, RolloutError, StopReason
from tests.stats.stats_builders import episode, turn


def _attempts(outcomes: str, q: float = 0.5) -> list[Episode]:
    return [episode(f"t{n}", int(won), turn(q)) for n, won in enumerate(outcomes)]


def test_by_hand_each_attempt_is_in_one_of_four_groups() -> None:
    found = compare("rl", _attempts("1100"), _attempts("1010"))
    assert found["won"] == {"only_a": 1, "only_b": 1, "both": 1, "neither": 1}
    assert [row["task_id"] for row in found["attempts"]["only_a"]] == ["t1"]
    assert [row["task_id"] for row in found["attempts"]["only_b"]] == ["t2"]
    assert found["attempts"]["only_a"][0]["a"]["q_first"] == 0.5
    (success,) = (row for row in found["comparisons"] if row["metric"] == "success")
    assert success["diff"] == 0.0 and success["lo"] < 0 < success["hi"]
    assert success["unit"] == "task"


def test_the_difference_is_that_of_the_paired_tasks_alone() -> None:
    more = [*_attempts("1111"), episode("other", 0, turn(0.5))]
    found = compare("rl", more, _attempts("0011"))
    assert found["num_tasks"] == 4
    (success,) = (row for row in found["comparisons"] if row["metric"] == "success")
    assert success["diff"] == 0.5


def test_an_attempt_that_the_machine_ended_is_left_out_with_its_twin() -> None:
    gone = RolloutError(kind="tool", message="gone")
    left = _attempts("11")
    left[0] = replace(left[0], success=None, stop_reason=StopReason.ERROR, error=gone)
    assert compare("rl", left, _attempts("00"))["won"]["only_a"] == 1
    assert compare("rl", _attempts("00"), left)["won"]["only_b"] == 1


def test_attempts_of_one_task_are_paired_by_number() -> None:
    one = [replace(e, task_id="t", rollout=n) for n, e in enumerate(_attempts("10"))]
    two = [replace(e, task_id="t", rollout=n) for n, e in enumerate(_attempts("01"))]
    found = compare("rl", one, two[::-1])
    assert found["won"] == {"only_a": 1, "only_b": 1, "both": 0, "neither": 0}
    assert found["num_tasks"] == 1 and found["num_attempts"] == 2


def _folder(root: Path, outcomes: str) -> Path:
    rows = _attempts(outcomes)
    write_jsonl(root / "episodes.jsonl", map(episode_to_row, rows))
    write_json(root / "summary.json", summarise(rows, Labels(seed=1)))
    return root


def test_sides_with_other_judges_are_compared_by_exact_match(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = _folder(tmp_path / "a", "1100"), tmp_path / "b"
    rows = [replace(e, success=1, success_em=n % 2) for n, e in enumerate(_attempts("0000"))]
    write_jsonl(b / "episodes.jsonl", map(episode_to_row, rows))
    write_json(b / "summary.json", summarise(rows, Labels(seed=1, judge="llm:m")))
    assert main(["diff", str(a), str(b), "--json"]) == 1
    found: Any = json.loads(capsys.readouterr().out)
    assert found["paired"][0]["won"] == {"only_a": 1, "only_b": 1, "both": 1, "neither": 1}
    assert {"key": "eval.judge", "a": "exact", "b": "llm:m"} in found["differences"]
    write_json(a / "summary.json", summarise(rows, Labels(seed=1, judge="llm:m")))
    main(["diff", str(a), str(b), "--json"])
    assert json.loads(capsys.readouterr().out)["paired"][0]["won"]["only_b"] == 2


def test_folders_of_evaluations_are_compared_and_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = _folder(tmp_path / "a", "1100"), _folder(tmp_path / "b", "0110")
    assert main(["diff", str(a), str(b)]) == 1
    out = capsys.readouterr().out
    assert "won by A alone 1, by B alone 1, by both 1, by neither 1" in out
    assert "won by A alone: t0 #0" in out and "won by B alone: t2 #0" in out
    assert main(["diff", str(a), str(a)]) == 0
    capsys.readouterr()
    main(["diff", str(a), str(b), "--json"])
    found: Any = json.loads(capsys.readouterr().out)
    assert found["paired"][0]["won"]["both"] == 1


def test_a_folder_that_is_neither_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["diff", str(_folder(tmp_path / "a", "10")), str(tmp_path / "empty")]) == 2
    assert "resolved.json" in capsys.readouterr().err
