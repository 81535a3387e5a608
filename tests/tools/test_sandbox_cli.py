"""`forethought sandbox run`: one JSON object, exit 0 when the call was carried out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from forethought.cli import main
from forethought.tools.sandbox import (
    SandboxLimits,
    SandboxResult,
    SandboxSession,
    levels,
    strongest,
)

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
    assert list(result) == FIELDS and result["level"] == "bwrap"
    assert {key: result[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--timeout", "0"], 2),
        (["--timeout", "nan"], 2),
        (["--level", "nonsense"], 2),
        (["--level", "no.such.module:Sandbox"], 2),
    ],
)
def test_what_cannot_be_done_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int
) -> None:
    assert run(tmp_path / "p.py", "print(1)", *words) == code
    shown = capsys.readouterr()
    assert "Next: " in shown.err and shown.out == ""


@pytest.mark.parametrize("level", ["limits", "landlock", "bwrap"])
def test_the_level_that_is_named_is_what_ran(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], level: str
) -> None:
    assert run(tmp_path / "p.py", "print(1)", "--level", level) == 0
    assert json.loads(capsys.readouterr().out)["level"] == level


def test_a_level_that_is_not_here_is_exit_code_4_with_the_way_to_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(levels, "why_not", lambda name: "not installed")
    for words in ([], ["--level", "bwrap"]):
        strongest.cache_clear()
        assert run(tmp_path / "p.py", "print(1)", *words) == 4
        assert "apt install bubblewrap" in capsys.readouterr().err
    strongest.cache_clear()


class Container:
    """A sandbox of somebody else."""

    level = "container"

    def run(self, code: str, limits: SandboxLimits) -> SandboxResult:
        return SandboxResult(
            stdout=code, stderr="", exit=0, killed=None, level="container", wall_s=0.5
        )

    def session(self, limits: SandboxLimits) -> SandboxSession:
        raise NotImplementedError


def test_a_sandbox_from_elsewhere_fits_behind_the_same_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "p.py", "1", "--level", f"{__name__}:Container") == 0
    assert json.loads(capsys.readouterr().out)["stdout"] == "1"


def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sandbox", "run", str(tmp_path / "absent.py")]) == 2
    assert "absent.py: got no such file" in capsys.readouterr().err
    (tmp_path / "latin.py").write_bytes(b"x = 1\n# caf\xe9\n")
    assert main(["sandbox", "run", str(tmp_path / "latin.py")]) == 2
    assert "latin.py:2: got byte 0xe9" in capsys.readouterr().err
