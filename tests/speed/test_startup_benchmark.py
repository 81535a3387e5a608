"""benchmarks/startup.py: whole processes are measured, and nothing heavy is loaded unseen."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from speed_builders import check_rows, script


@pytest.fixture
def startup(monkeypatch: pytest.MonkeyPatch) -> Any:
    return script(monkeypatch, "startup")


def test_commands_read_and_print_without_torch(startup: Any, tmp_path: Path) -> None:
    names = startup.commands(tmp_path)
    assert {"--help", "list configs", "parse", "view"} <= set(names)
    assert startup.loaded(names["--help"]) == startup.loaded(names["parse"]) == []
    assert not {"torch", "transformers"} & set(startup.loaded(names["view"]))


def test_a_command_that_loads_what_it_must_not_ends_the_benchmark(
    startup: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(startup, "NEVER", {"pydantic"})
    with pytest.raises(SystemExit, match="pydantic"):
        startup.loaded(["list", "configs"])
    with pytest.raises(SystemExit, match="exit code 2"):
        startup.loaded(["parse", "no such file"])


def test_a_row_has_the_bare_interpreter_as_its_limit(
    startup: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(startup, "TORCH", [sys.executable, "-c", "import json"])
    (row,) = startup.rows({"--help": ["--help"]}, 2)
    check_rows([row])
    assert row["limit"]["share"] < 1 and row["heavy"] == []


def test_a_child_that_fails_ends_the_benchmark_and_its_children_count(startup: Any) -> None:
    busy = "sum(range(3_000_000))"
    own = startup.run_child([sys.executable, "-c", busy]).cpu
    below = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {busy!r}])"
    assert startup.run_child([sys.executable, "-c", below]).cpu > 0.8 * own
    with pytest.raises(SystemExit, match="exit code 3"):
        startup.run_child([sys.executable, "-c", "raise SystemExit(3)"])
