"""benchmarks/rollout.py at toy size: equal work, greedy tokens compared, the shape of its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from speed_builders import check_rows, run_benchmark, script


@pytest.fixture
def rollout(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script as a module."""
    return script(monkeypatch, "rollout")


def test_both_sides_sample_as_many_tokens_and_greedily_the_same(tmp_path: Path) -> None:
    words = ["--quick", "--turns", "1,3", "--batch", "3", "--sampled", "3"]
    found = run_benchmark("rollout.py", tmp_path, words)
    check_rows(found["rows"])
    cells = [(row["x"]["turns"], row["x"]["measure"]) for row in found["rows"]]
    assert cells == [(1, "cpu"), (1, "wall"), (3, "cpu"), (3, "wall")]
    for row in found["rows"]:
        work = row["equal_work"]
        assert work["tokens_ours"] == work["tokens_peer"] == 9 * row["x"]["turns"]
        assert (row["same_tokens"], row["ties"]) == (1, 0)
        assert row["peer"]["name"] == "transformers.generate" and "limit" in row
    assert found["exponent"]["ours"] > 0 and found["exponent"]["peer"] > 0
    assert found["pairs"] >= 5


def test_greedy_tokens_may_part_at_a_tie_and_nowhere_else(rollout: Any) -> None:
    model = rollout.build_model("toy")
    work = rollout.make_work(model.config.vocab_size, 2, 2, 3)
    mine = rollout.ours(model, work, 0.0)
    assert rollout.ties(model, mine, rollout.peer(model, work, 0.0)) == 0
    other = [mine[0], [*mine[1][:-1], mine[1][-1] ^ 1]]
    with pytest.raises(SystemExit, match="no tie"):
        rollout.ties(model, mine, other)
    with torch.no_grad():
        model.get_output_embeddings().weight.zero_()  # all tokens are equally likely
    assert rollout.ties(model, mine, other) == 1


def test_too_few_pairs_are_refused(rollout: Any, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        rollout.main(["--quick", "--pairs", "4", "--json", str(tmp_path / "b.json")])
    assert not (tmp_path / "b.json").exists()
