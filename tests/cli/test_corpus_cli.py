"""`forethought corpus`: a table for people, corpus.json for programs, and no second build."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from forethought.cli import main
from forethought.jsonl import read_json
from tests.stages.corpus_runs import make_run


def test_the_table_has_a_line_a_set_and_json_is_the_document(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = make_run(tmp_path / "run"), tmp_path / "out"
    words = ["corpus", str(run), "--stage", "sft", "--out", str(out), "--twins"]
    assert main(words) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split()[0] == "sequences"
    assert [line.split()[0] for line in lines] == ["main", "plain", "recap", "shuffled", "constant"]
    assert main([*words, "--resume", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == read_json(out / "corpus.json")
    assert lines[1].split()[3] == str(shown["sets"]["plain"]["trained_tokens"])


def test_a_second_build_needs_resume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = make_run(tmp_path / "run"), tmp_path / "out"
    words = ["corpus", str(run), "--stage", "midtrain", "--out", str(out)]
    assert main(words) == 0
    assert main(words) == 2
    assert "add --resume" in capsys.readouterr().err
    assert main([*words, "--resume", "--rows", "turns"]) == 2
    assert "rows" in capsys.readouterr().err


def test_a_missing_folder_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["corpus", str(tmp_path / "none"), "--stage", "sft", "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert "resolved.json" in capsys.readouterr().err
