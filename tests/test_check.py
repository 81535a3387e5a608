"""`forethought check`: what it finds, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from forethought.cli import check, main
from forethought.cli.check import Finding

GOOD_ENV = '''
class Good:
    def reset(self, **row) -> None: ...
    def look(self, where: str) -> str:
        """Looks somewhere.

        Args:
            where: a place.
        """
        return where

class Bad:
    def reset(self, question: str) -> None: ...
    def look(self, where):
        return where
'''


def test_the_doctor_finds_this_machine_fit(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 0
    shown = capsys.readouterr().out
    assert "torch" in shown and "sandbox" in shown and "BAD" not in shown


def test_a_bad_finding_is_exit_code_1_and_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check, "NEEDED", ("no_such_package",))
    assert main(["check", "--json"]) == 1
    rows = json.loads(capsys.readouterr().out)
    assert {"what": "no_such_package", "ok": False} in [
        {"what": row["what"], "ok": row["ok"]} for row in rows
    ]


@pytest.mark.parametrize("words", [["check"], ["check", "demo/atlas"]])
@pytest.mark.parametrize("device", ["bogus", "cuda:99", "cpu:x", "meta"])
def test_a_device_that_is_not_here_is_found(
    words: list[str],
    device: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FORETHOUGHT_DEVICE", device)
    assert main(words) == 1
    assert device in next(x for x in capsys.readouterr().out.splitlines() if "BAD" in x)


def test_a_model_that_was_not_fetched_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORETHOUGHT_HOME", str(tmp_path))
    assert main(["check", "maths/gsm8k-smollm2"]) == 1
    assert "forethought fetch smollm2-135m-instruct" in capsys.readouterr().out


def test_the_brief_line_names_python_torch_threads_and_sandbox(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["check", "--brief"]) == 0
    line = capsys.readouterr().out
    for word in ("Python 3.", "torch 2.", "threads", "sandbox level"):
        assert word in line
    assert line.count("\n") == 1


def test_a_shipped_configuration_is_fine_with_its_overrides(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["check", "demo/atlas", "--rl.group_size", "4"]) == 0
    assert '"group_size": 4' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["no/such"], "list configs"),
        (["demo/atlas", "--rl.group_size", "1"], "group_size must be >= 2"),
        (["demo/atlas", "--rl.nonsense", "1"], "nonsense"),
        (["demo/atlas", "--model.name", "/nonexistent"], "/nonexistent: got no such folder"),
        (["demo/atlas", "--model.name", "./x"], "no such folder"),
        (["env"], "list envs"),
        (["env", "nope"], "'nope'"),
        (["env", "json:nope"], "json:nope"),
    ],
)
def test_a_mistake_of_the_user_is_exit_code_2_with_the_way_on(
    words: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", *words]) == 2
    shown = capsys.readouterr().err
    assert named in shown and "Next:" in shown


def test_an_environment_of_the_users_own_is_checked_by_its_contract(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my_check_env.py").write_text(GOOD_ENV)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["check", "env", "my_check_env:Good"]) == 0
    assert "Looks somewhere." in capsys.readouterr().out
    assert main(["check", "env", "my_check_env:Bad"]) == 2
    assert "reset(self, **row)" in capsys.readouterr().err


def test_every_registered_environment_keeps_the_contract() -> None:
    from forethought.envs import ENVS

    for name in ENVS:
        assert main(["check", "env", name]) == 0


def test_the_sandbox_check_reports_every_limit(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "sandbox", "--json"]) == 0
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    assert rows and all(set(row) == set(Finding.__dataclass_fields__) for row in rows)
    told = [row["text"] for row in rows if row["what"].endswith("bounds processes")]
    assert len(told) == 3 and all("by the kernel" in x or "looked at" in x for x in told)
