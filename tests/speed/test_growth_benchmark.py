"""benchmarks/growth.py: both sides train on the same episodes, and come to the same loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from speed_builders import check_rows, run_benchmark, script


@pytest.fixture
def growth(monkeypatch: pytest.MonkeyPatch) -> Any:
    return script(monkeypatch, "growth")


def test_both_sides_sample_as_many_tokens_and_come_to_the_same_loss(
    growth: Any, tmp_path: Path
) -> None:
    point = growth.Point(turns=2, group=3, vocabulary=128, passages=20, sampled=4)
    growth.build_indices(tmp_path, [20])
    mine, theirs = (growth.play(side, point, tmp_path) for side in ("ours", "peer"))
    assert mine["tokens"] == theirs["tokens"] == 2 * 3 * 4
    assert mine["loss"] == pytest.approx(theirs["loss"], abs=1e-5)
    assert mine["cpu"] > 0 and theirs["cpu"] > 0


def test_a_group_has_one_prompt_and_trains_what_was_sampled(growth: Any) -> None:
    point = growth.Point(turns=3, group=2, vocabulary=128, sampled=4)
    assert len({tuple(prompt) for prompt in growth.make_work(point).prompts}) == 1
    for ids, trains in growth.given(point):
        assert len(ids) == len(trains) and sum(trains) == 12 and not trains[0]


def test_exponents_are_fitted_for_each_axis_and_measure(growth: Any) -> None:
    found = [
        {
            "x": {"vary": axis, "turns": turns, "group": 2 * turns, "measure": measure},
            "ours": {"median": turns**power},
            "peer": {"median": turns**2},
        }
        for axis in ("turns", "group")
        for measure, power in (("cpu", 1), ("memory", 0))
        for turns in (2, 4, 8)
    ]
    sides = {"cpu": {"ours": 1.0, "peer": 2.0}, "memory": {"ours": 0.0, "peer": 2.0}}
    assert growth.slopes(found) == {"turns": sides, "group": sides}


def test_a_point_that_fails_ends_the_benchmark(growth: Any, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="failed at"):
        growth.apart("ours", growth.Point(vocabulary=1), tmp_path)


def test_the_script_writes_both_measures(tmp_path: Path) -> None:
    found = run_benchmark("growth.py", tmp_path, ["--quick", "--vary", "turns"])
    check_rows(found["rows"])
    assert {row["x"]["turns"] for row in found["rows"]} == {2, 6}
    for row in found["rows"]:
        assert row["equal_work"]["loss_diff"] < 1e-4
        assert row["equal_work"]["tokens_ours"] == row["equal_work"]["tokens_peer"]
    assert found["exponent"]["turns"]["cpu"]["peer"] > 0
