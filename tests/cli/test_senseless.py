"""Senseless flags: exit code 2, what was got and expected, and nothing is left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from forethought.cli import main

EVAL = ["eval", "demo/atlas-fast", "--model", "planner", "--out", "OUT"]
RUN = ["run", "demo/atlas-fast", "--out", "OUT"]


@pytest.mark.parametrize(
    "words",
    [
        [*EVAL, "--seed", "-1"],
        [*EVAL, "--seed", "9" * 30],
        [*EVAL, "--num", "0"],
        [*EVAL, "--samples", "0"],
        [*EVAL, "--samples", "1.5"],
        [*EVAL, "--temperature", "-1"],
        [*EVAL, "--temperature", "nan"],
        [*EVAL, "--worlds", "5:1"],
        [*EVAL, "--worlds", "\u00b2:\u00b3"],
        [*EVAL, "--worlds", "1:" + "9" * 5000],
        [*EVAL, "--mode", "imagine-\u00b2"],
        [*EVAL, "--mode", "imagine-1"],
        [*EVAL, "--eval.resamples", "0"],
        [*EVAL[:-1], ""],
        [*RUN, "--seed", "-1"],
        [*RUN, "--seed", ""],
        [*RUN, "--sft.epochs", "1e400"],
        [*RUN[:-1], ""],
        ["demo", "--fast", "--seed", "-1", "--out", "OUT"],
        ["demo", "--fast", "--out", ""],
        ["check", "demo/atlas", "--seed", "-1"],
        ["play", "atlas", "--seed", "-1"],
        ["view", "OUT", "--num", "0"],
        ["corpus", "OUT", "--stage", "sft", "--out", "OUT", "--shard-size", "0"],
        ["corpus", "OUT", "--stage", "sft", "--out", "OUT", "--workers", "-1"],
        ["credit", "--omega", "nan", "FILE"],
        ["credit", "--c-g", "nan", "FILE"],
        ["credit", "--c-q", "inf", "FILE"],
        ["leaks", "--max-gain", "nan", "FILE"],
        ["retrieve", "--corpus", "FILE", "--k", "0", "FILE"],
        ["sandbox", "run", "FILE", "--timeout", "nan"],
        ["sandbox", "run", "FILE", "--timeout", "0"],
    ],
    ids=lambda words: " ".join(words)[:60],
)
def test_a_senseless_flag_is_refused_before_anything_is_made(
    words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    places = {"OUT": str(tmp_path / "out"), "FILE": str(tmp_path / "file")}
    assert main([places.get(word, word) for word in words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "Next:" in said.err or "unrecognized arguments" in said.err
    assert {path.name for path in tmp_path.iterdir()} <= {"file", "out"}
    assert not (tmp_path / "out/summary.json").exists()


@pytest.mark.parametrize("verb", ["eval", "run", "demo", "prepare"])
@pytest.mark.parametrize("name", ["file", "file/below", "n" * 300, "a\0b"])
def test_what_cannot_be_a_folder_for_results_is_refused_at_once(
    verb: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    words = {"eval": EVAL[:4], "demo": ["demo", "--fast"]}.get(verb, [verb, "demo/atlas-fast"])
    assert main([*words, "--out", str(tmp_path / name)]) == 2
    said = capsys.readouterr().err
    assert "--out" in said and "expected a folder" in said and "Next:" in said
    assert (tmp_path / "file").read_text() == "mine"
