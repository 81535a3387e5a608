"""The record of a study holds what its verdicts rest on."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from forethought.cli import main
from forethought.errors import InputError
from forethought.jsonl import read_json, read_jsonl, write_json
from forethought.report.study import write_study_record
from tests.study_cells.test_verdicts import rates, study


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    folder = tmp_path / "study"
    study(folder, rates((60, 62, 58), (40, 41, 39)))
    (folder / "study.toml").write_text('name = "s"\n')
    for cell in (folder / "cells").iterdir():
        env: Any = {
            "schema": "forethought.env/1",
            "command": f"forethought study s.toml --cell {cell.name}",
            "seeds": {},
            "sha256": {},
        }
        write_json(cell / "env.json", env)
    return folder


def test_success_of_every_arm_follows_from_the_outcomes(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "record"
    files = {file.name for file in write_study_record(finished, out)}
    assert files == {
        "command.txt",
        "config.toml",
        "env.json",
        "episodes.jsonl.gz",
        "outcomes.jsonl.gz",
        "summary.json",
    }
    won: dict[str, list[int]] = defaultdict(list)
    for _, row in read_jsonl(out / "outcomes.jsonl.gz"):
        won[row["cell"].partition("-")[2]].append(row["won"])
    arms = read_json(out / "summary.json")["arms"]
    found = {arm: sum(values) / len(values) for arm, values in won.items()}
    assert found == pytest.approx({arm: cells["success"]["value"] for arm, cells in arms.items()})
    read = [row["cell"] for _, row in read_jsonl(out / "episodes.jsonl.gz")]
    assert {cell: read.count(cell) for cell in read} == dict.fromkeys(set(read), 10)
    assert len((out / "command.txt").read_text().splitlines()) == 6


def test_report_shows_a_study_and_its_record(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(finished), "--record", str(tmp_path / "record")]) == 0
    first = capsys.readouterr().out
    assert "supported" in first and "0.600" in first
    assert main(["report", str(tmp_path / "record")]) == 0
    assert capsys.readouterr().out == first
    assert main(["report", str(tmp_path / "record"), "--json"]) == 0
    assert '"forethought.study/1"' in capsys.readouterr().out


def test_a_record_is_never_written_over(finished: Path, tmp_path: Path) -> None:
    write_study_record(finished, tmp_path / "record")
    with pytest.raises(InputError, match="a folder with files"):
        write_study_record(finished, tmp_path / "record")
