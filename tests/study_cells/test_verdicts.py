"""Laws of the verdicts: an interval on one side of the margin, seeds as the unit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from forethought.jsonl import write_json, write_jsonl
from forethought.runlog import episode_to_row
from forethought.stats.bootstrap import contrast_draws, holm, paired_draws
from forethought.study.plan import Claim, Plan
from forethought.study.verdicts import finish
from forethought.types import Episode
from tests.episode_builders import answering, episode_of

ARMS = ("a", "b")


def episode(task: int, success: bool) -> Episode:
    return episode_of(answering(), int(success), task_id=f"t{task}")


def arm(rate: int, tasks: int = 200) -> list[Episode]:
    return [episode(task, task * 37 % 100 < rate) for task in range(tasks)]


def study(tmp_path: Path, rates: dict[str, int], margin: float = 0.0, **cells: float) -> Any:
    from forethought.config import load_config
    from forethought.study.plan import Cell

    config = load_config("demo/atlas-fast")
    made = tuple(
        Cell(seed=seed, levels=(name,), config=config) for seed in (1, 2, 3) for name in ARMS
    )
    claim = Claim(claim="c", metric="success", cells=cells or {"a": 1.0, "b": -1.0}, margin=margin)
    for cell in made:
        if cell.id not in rates:
            continue
        folder = tmp_path / "cells" / cell.id
        write_jsonl(
            folder / "evals" / "rl" / "episodes.jsonl", map(episode_to_row, arm(rates[cell.id]))
        )
        row = {"evaluation": "rl", "cpu_s": {"eval": 60.0, "rl": 30.0}, "metrics": {"success": {}}}
        write_json(folder / "summary.json", row)
    plan = Plan(name="s", cells=made, claims=(claim,), metrics=("success",), seeds=(1, 2, 3))
    return finish(plan, tmp_path, tmp_path / "nodes")


def rates(a: tuple[int, int, int], b: tuple[int, int, int]) -> dict[str, int]:
    return {f"{n + 1}-a": a[n] for n in range(3)} | {f"{n + 1}-b": b[n] for n in range(3)}


@pytest.mark.parametrize(
    ("a", "b", "margin", "verdict"),
    [
        ((60, 62, 58), (40, 41, 39), 0.0, "supported"),
        ((40, 41, 39), (60, 62, 58), 0.0, "refuted"),
        ((60, 20, 50), (40, 50, 45), 0.0, "undecided"),
        ((60, 62, 58), (40, 41, 39), 0.5, "refuted"),
    ],
)
def test_a_verdict_is_the_side_of_the_margin_on_which_the_interval_lies(
    tmp_path: Path, a: Any, b: Any, margin: float, verdict: str
) -> None:
    result = study(tmp_path, rates(a, b), margin)
    assert result["verdicts"][0]["verdict"] == verdict
    assert "unit: seed, n = 3" in result["verdicts"][0]["evidence"]
    (row,) = result["comparisons"]
    assert row["diff"] == pytest.approx(sum(x - y for x, y in zip(a, b, strict=True)) / 300)
    assert row["lo_seeds"] <= row["lo"] <= row["hi"] <= row["hi_seeds"]
    assert len(row["by_seed"]) == 3 and result["missing"] == []
    assert set(result["arms"]) == set(ARMS)


def test_a_claim_without_its_cells_is_undecided_and_they_are_named(tmp_path: Path) -> None:
    partial = {key: rate for key, rate in rates((60, 60, 60), (40, 40, 40)).items() if key != "2-b"}
    result = study(tmp_path, partial)
    assert result["missing"] == ["2-b"] and result["comparisons"] == []
    assert result["verdicts"] == [
        {"claim": "c", "verdict": "undecided", "evidence": "cells are missing"}
    ]
    assert set(result["arms"]) == {"a"}


def test_shared_stages_are_paid_for_once(tmp_path: Path) -> None:
    result = study(tmp_path, rates((60, 60, 60), (40, 40, 40)))
    assert result["cpu_min"] == 6 * 1.0 + 0.5  # every cell has the same configuration here


def test_a_contrast_of_two_is_a_paired_difference_and_an_interaction_their_difference() -> None:
    names = ("success",)
    files = [arm(rate) for rate in (70, 50, 45, 40)]
    two = contrast_draws([(1.0, files[0]), (-1.0, files[1])], names, seed=5)["success"]
    paired = paired_draws(files[0], files[1], names, seed=5)["success"]
    assert two.point == paired.point and (two.values_R == paired.values_R).all()
    four = contrast_draws(list(zip((1.0, -1.0, -1.0, 1.0), files, strict=True)), names, seed=5)
    other = paired_draws(files[2], files[3], names, seed=5)["success"]
    assert four["success"].values_R == pytest.approx(paired.values_R - other.values_R)


def test_holm_keeps_the_order_and_corrects_the_smallest_most() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == [] and holm([0.9, 0.8]) == [1.0, 1.0]
