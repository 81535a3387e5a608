"""benchmarks/retrieval.py runs, and its file has the shape that others read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from search_builders import PAGES, corpus_file

from forethought.tools.retrieval import Document

ROOT = Path(__file__).resolve().parents[2]
MEASURES = {"build", "open", "query", "build_memory", "serve_memory", "serve_private", "disk"}


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs /proc (Linux)")
def test_the_figures_have_their_units_peers_and_machine(tmp_path: Path) -> None:
    out = tmp_path / "b.json"
    pages = [Document(id=str(n), title=f"page {n}", text=f"w{n} w{n % 7}") for n in range(120)]
    corpus = corpus_file(tmp_path, pages)  # as many as the larger size
    words = ["--sizes", "60,120", "--repeats", "1", "--queries", "9", "--peers", "bm25s"]
    words += ["--corpus", corpus]
    subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/retrieval.py"), "--json", str(out), *words],
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    found = json.loads(out.read_text())
    assert found["schema"] == "forethought.bench/1" and found["question"].endswith("?")
    assert {row["x"]["measure"] for row in found["rows"]} == MEASURES
    assert {row["x"]["passages"] for row in found["rows"]} == {60, 120}
    for row in found["rows"]:
        for side in (row["ours"], row["peer"]):
            assert side["min"] <= side["median"] <= side["max"] and side["unit"]
        assert row["ratio"]["lo"] <= row["ratio"]["value"] <= row["ratio"]["hi"]
        assert row["peer"]["name"] == "bm25s" and row["same_first"] == row["same_top"] == 1
    limits = [row["limit"] for row in found["rows"] if "limit" in row]
    assert len(limits) == 4 and all(0 < limit["share"] < 0.2 for limit in limits)
    assert set(found["exponent"]) == {"ours", "peer"} and found["machine"]["cores"]


def test_a_corpus_that_is_too_small_is_told(tmp_path: Path) -> None:
    words = ["--corpus", corpus_file(tmp_path), "--sizes", str(len(PAGES) + 1)]
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/retrieval.py"), "--json", "x.json", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0 and "fewer than 8 lines" in done.stderr
    assert not (tmp_path / "x.json").exists()


def test_ties_for_the_last_place_are_no_difference() -> None:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        from retrieval import same_first, same_top
    finally:
        sys.path.pop(0)
    hits = [["a", 3.0], ["b", 2.0], ["c", 1.0]]
    assert same_top(hits, [["a", 3.0], ["b", 2.0], ["d", 1.0]])
    assert not same_top(hits, [["a", 3.0], ["b", 2.0], ["d", 1.1]])
    assert same_top(hits, [["b", 30.0], ["a", 20.0], ["c", 10.0]])
    assert not same_top(hits, [["a", 3.0], ["d", 2.0], ["c", 1.0]])
    assert not same_top(hits, hits[:2])
    assert same_first(hits, [["a", 9.0]]) and not same_first(hits, [["b", 3.0]])
    assert same_top([], []) and same_first([], [])
