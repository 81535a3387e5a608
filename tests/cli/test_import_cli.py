"""`forethought prepare --import` as a command: accounts, exit codes, flags that belong together."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from forethought.cli import main
from forethought.hindsight.importers import FORMATS
from forethought.jsonl import read_json, read_jsonl

FOLDER = Path(__file__).parents[1] / "fixtures" / "import"


def words(form: str, out: Path, *more: str, config: str = "demo/atlas") -> list[str]:
    file = str(FOLDER / f"{form}.jsonl")
    return ["prepare", config, "--out", str(out), "--import", file, "--format", form, *more]


@pytest.mark.parametrize("form", FORMATS)
def test_only_import_accounts_for_every_row(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(form, tmp_path, "--only-import", "--json")) == 0
    account = json.loads(capsys.readouterr().out)
    lines = (FOLDER / f"{form}.jsonl").read_text("utf-8").splitlines()
    assert account["read"] == len(lines)
    assert account["read"] == account["imported"] + sum(account["left_out"].values())
    assert account == read_json(tmp_path / "prepare" / "import.json")
    assert (
        sum(1 for _ in read_jsonl(tmp_path / "prepare" / "imported.jsonl")) == (account["imported"])
    )
    assert not (tmp_path / "prepare" / "trajectories.jsonl").exists()
    assert main(words(form, tmp_path / "two", "--only-import")) == 0
    shown = capsys.readouterr().out
    assert f"{len(lines)} rows read, {account['imported']} imported" in shown
    for reason, number in account["left_out"].items():
        assert f"left out: {number} {reason} (" in shown
    for name in ("import.json", "imported.jsonl"):
        one, two = tmp_path / "prepare" / name, tmp_path / "two" / "prepare" / name
        assert one.read_bytes() == two.read_bytes()


def test_only_import_needs_no_torch(tmp_path: Path) -> None:
    line = words("react", tmp_path, "--only-import")
    code = (
        f"import sys; from forethought.cli import main; code = main({line!r}); "
        "sys.exit(code or ('torch' in sys.modules) * 7)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "no --decontaminate" in done.stderr


def test_stage_0_of_an_import_needs_no_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FORETHOUGHT_DATA", raising=False)
    line = words("tora", tmp_path / "run", "--json", config="maths/gsm8k-smollm2")
    assert main(line) == 0
    shown = capsys.readouterr()
    report = json.loads(shown.out)
    assert report == read_json(tmp_path / "run" / "prepare" / "report.json")
    assert report["kept"] == report["import"]["imported"] == 2
    assert "test questions of the configuration are not compared" in shown.err
    assert (tmp_path / "run" / "prepare" / "trajectories.jsonl").is_file()
    assert not (tmp_path / "run" / "base").exists()


def test_test_files_may_be_several(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["Who led the choir of Estry?", "Who wrote the play Amber Hour?"]
    flags = []
    for number, question in enumerate(asked):
        file = tmp_path / f"tests{number}.jsonl"
        file.write_text(json.dumps({"id": f"t{number}", "question": question}) + "\n")
        flags += ["--decontaminate", str(file)]
    assert main(words("react", tmp_path / "out", "--only-import", "--json", *flags)) == 0
    account = json.loads(capsys.readouterr().out)
    assert account["left_out"]["contaminated"] == 2
    assert [hit["test_id"] for hit in account["contaminated"]] == ["t1", "t0"]
    assert [each["questions"] for each in account["decontaminated_with"]] == [1, 1]


@pytest.mark.parametrize(
    "flags",
    [
        ["--format", "react"],
        ["--only-import"],
        ["--need-thoughts"],
        ["--success-at", "0"],
        ["--decontaminate", "FILE"],
        ["--tool", "a=b"],
        ["--kind", "qa"],
        ["--import", "FILE"],
        ["--import", "NOWHERE", "--format", "react", "--only-import"],
        ["--import", "FILE", "--format", "react", "--only-import", "--tool", "a"],
        ["--import", "FILE", "--format", "react", "--only-import", "--success-at", "nan"],
        ["--import", "FILE", "--format", "react", "--only-import", "--decontaminate", "NOWHERE"],
        ["--import", "FILE", "--format", "parquet"],
        ["--import", "FILE", "--format", "react"],
    ],
    ids=" ".join,
)
def test_flags_that_make_no_sense_are_refused(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = {"FILE": str(FOLDER / "react.jsonl"), "NOWHERE": str(tmp_path / "nowhere")}
    line = ["prepare", "demo/atlas", "--out", str(tmp_path / "out")]
    assert main([*line, *(known.get(flag, flag) for flag in flags)]) == 2
    assert "expected" in (shown := capsys.readouterr()).err or "invalid choice" in shown.err
    assert not (tmp_path / "out" / "prepare" / "import.json").exists()
