"""benchmarks/python_tool.py runs, and its file has the shape that others read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_each_level_is_set_beside_a_bare_start_in_both_kinds_of_call(tmp_path: Path) -> None:
    out = tmp_path / "b.json"
    words = ["--quick", "--calls", "4", "--repeats", "1", "--json", str(out)]
    subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/python_tool.py"), *words],
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
    )
    found = json.loads(out.read_text())
    assert found["schema"] == "forethought.bench/1" and found["question"].endswith("?")
    sides = {
        tuple(row["x"][name] for name in ("call", "level", "measure")) for row in found["rows"]
    }
    levels = ("bwrap", "landlock", "limits")
    kinds = [
        (c, level, m) for c in ("fresh", "session") for level in levels for m in ("cpu", "wall")
    ]
    assert sides == set(kinds) and len(found["rows"]) == len(kinds)
    for row in found["rows"]:
        assert row["peer"]["name"] == "python -I -S" and row["ours"]["median"] > 0
        assert row["ratio"]["lo"] <= row["ratio"]["value"] <= row["ratio"]["hi"]
        if row["x"]["call"] == "session" and row["x"]["measure"] == "cpu":
            assert row["ratio"]["value"] > 0.5
