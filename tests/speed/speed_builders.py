"""Runs a benchmark as its users do and checks what every row of its file must have."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run_benchmark(script: str, folder: Path, words: Sequence[str]) -> dict[str, Any]:
    """The document that `benchmarks/<script>` writes."""
    out = folder / "b.json"
    subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / script), "--json", str(out), *words],
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    found: dict[str, Any] = json.loads(out.read_text())
    assert found["schema"] == "forethought.bench/1" and found["question"].endswith("?")
    assert found["machine"]["torch"] and found["rows"]
    return found


def check_rows(rows: Sequence[dict[str, Any]]) -> None:
    """Medians inside their bounds, a peer with its version, a ratio of the medians."""
    for row in rows:
        for side in (row["ours"], row["peer"]):
            assert 0 < side["min"] <= side["median"] <= side["max"] and side["unit"]
        assert row["ours"]["unit"] == row["peer"]["unit"] and row["peer"]["version"]
        assert row["ratio"]["lo"] <= row["ratio"]["value"] <= row["ratio"]["hi"]
        parts = row["peer"]["median"] / row["ours"]["median"]
        assert abs(row["ratio"]["value"] - parts) < 0.01 * parts + 0.01
        if "limit" in row:
            assert row["limit"]["what"] and row["limit"]["value"] > 0 and row["limit"]["share"] > 0


def script(monkeypatch: pytest.MonkeyPatch, name: str) -> Any:
    """A script of `benchmarks` as a module, beside those that it imports."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module(name)
