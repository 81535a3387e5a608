from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def runner() -> ModuleType:
    spec = importlib.util.spec_from_file_location("run_notebook", ROOT / "tools/run_notebook.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_runs_and_prints_what_is_stored(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert runner().main([str(path)]) == 0, capsys.readouterr().out
    notebook = json.loads(path.read_text("utf-8"))
    assert len(notebook["cells"]) <= 10
    assert all(cell["outputs"] for cell in notebook["cells"][3:] if cell["cell_type"] == "code")


def test_another_output_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cell = {"cell_type": "code", "source": ["print(6 * 7)"], "outputs": []}
    path = tmp_path / "n.ipynb"
    path.write_text(json.dumps({"cells": [cell]}), "utf-8")
    assert runner().main([str(path)]) == 1
    assert "code cell 1" in capsys.readouterr().out
    assert runner().main(["--write", str(path)]) == 0
    assert runner().main([str(path)]) == 0


def test_there_are_notebooks() -> None:
    assert len(NOTEBOOKS) >= 2
