"""`forethought sandbox run`: one JSON object, exit 0 when the call was carried out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from forethought.cli import main

FIELDS = ["stdout", "stderr", "exit", "killed", "level", "wall_s"]


def run(path: Path, code: str, *words: str) -> int:
    path.write_text(code)
    return main(["sandbox", "run", str(path), *words])


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("print('hi')", {"stdout": "hi\n", "exit": 0, "killed": None}),
        ("raise SystemExit(7)", {"exit": 7, "killed": None}),
        ("while True: pass", {"exit": -9, "killed": "time"}),
    ],
)
def test_the_result_is_printed_whatever_the_program_did(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], code: str, expected: dict[str, object]
) -> None:
    assert run(tmp_path / "p.py", code, "--timeout", "1") == 0
    result = json.loads(capsys.readouterr().out)
    assert list(result) == FIELDS and result["level"] == "limits"
    assert {key: result[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--timeout", "0"], 2),
        (["--timeout", "nan"], 2),
        (["--level", "nonsense"], 2),
        (["--level", "bwrap"], 4),
    ],
)
def test_what_cannot_be_done_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int
) -> None:
    assert run(tmp_path / "p.py", "print(1)", *words) == code
    shown = capsys.readouterr()
    assert "Next: " in shown.err and shown.out == ""


def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sandbox", "run", str(tmp_path / "absent.py")]) == 2
    assert "absent.py: got no such file" in capsys.readouterr().err
    (tmp_path / "latin.py").write_bytes(b"x = 1\n# caf\xe9\n")
    assert main(["sandbox", "run", str(tmp_path / "latin.py")]) == 2
    assert "latin.py:2: got byte 0xe9" in capsys.readouterr().err
