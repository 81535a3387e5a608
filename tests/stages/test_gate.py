"""No way leads past the gate of the base model: not a second try, not a resumed run."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from forethought.cli import main

SMALL = ["--base.drill_tokens", "600", "--base.page_tokens", "100", "--base.episode_tokens", "300"]
SMALL += ["--base.gate_tasks", "4", "--prepare.num_episodes", "4", "--prepare.branch_states", "0"]
SMALL += ["--model.hidden", "16", "--model.layers", "1", "--model.ffn", "16"]


def command(verb: str, out: Path, accuracy: str, *more: str) -> list[str]:
    words = [verb, "demo/atlas-fast", "--out", str(out), *SMALL]
    return [*words, "--base.min_copy_accuracy", accuracy, *more]


@pytest.mark.parametrize("verb", ["prepare", "midtrain", "run"])
def test_a_base_that_cannot_copy_stops_every_try(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "g"
    for more in ([], [] if verb != "run" else ["--resume"], ["--resume"]):
        assert main(command(verb, out, "0.97", *more)) == 3
        said = capsys.readouterr().err
        assert "min_copy_accuracy" in said and str(out / "base" / "ungated") in said
        assert (out / "base/ungated/model.safetensors").is_file()
        assert not (out / "base/model").exists() and not (out / "prepare").exists()


def test_an_untrained_base_does_not_pass_either(tmp_path: Path) -> None:
    none = ["--base.drill_tokens", "0", "--base.page_tokens", "0", "--base.episode_tokens", "0"]
    assert main(command("prepare", tmp_path / "g", "0.97", *none)) == 3


def test_a_base_that_passes_is_saved_as_the_model_and_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "g"
    assert main(command("prepare", out, "0")) == 0
    assert (out / "base/model/model.safetensors").is_file()
    assert not (out / "base/ungated").exists()
    assert (out / "prepare/trajectories.jsonl").is_file()
