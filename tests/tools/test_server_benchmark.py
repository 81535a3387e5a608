"""benchmarks/search_server.py runs against the real verb, and no answer is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="needs /proc (Linux)")
def test_the_figures_of_64_clients(tmp_path: Path) -> None:
    out = tmp_path / "b.json"
    words = ["--quick", "--passages", "300", "--json", str(out)]
    subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/search_server.py"), *words],
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    found = json.loads(out.read_text())
    assert found["schema"] == "forethought.bench/1" and found["question"].endswith("?")
    assert [row["x"]["clients"] for row in found["rows"]] == [1, 8, 64]
    for row in found["rows"]:
        assert row["wrong"] == 0 and row["x"]["requests"] >= 500
        assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"] <= row["ours"]["max"] + 0.01
