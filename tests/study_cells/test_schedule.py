"""A process of a study never holds a place to wait for a stage that another one trains."""

from __future__ import annotations

from pathlib import Path

from forethought.study.cells import ready
from forethought.study.nodes import Nodes
from tests.study_cells.test_plan import plan_of


def test_cells_that_share_an_untrained_stage_do_not_run_beside_each_other(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    nodes = Nodes(tmp_path / "nodes")
    needs = {cell.id: nodes.results(cell.config) for cell in plan.cells}
    first, queue = plan.cells[0], plan.cells[1:]
    assert ready(plan.cells, [], needs) == first
    # All cells of seed 3 stand on the base that the first one trains.
    chosen = ready(queue, [first], needs)
    assert chosen is not None and chosen.id == "4-yes-grpo"
    assert ready([cell for cell in queue if cell.seed == 3], [first], needs) is None


def test_they_do_once_it_is_there(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    nodes = Nodes(tmp_path / "nodes")
    needs = {cell.id: nodes.results(cell.config) for cell in plan.cells}
    first, beside = plan.cell("3-yes-grpo"), plan.cell("3-yes-causal")
    shared = set(needs[first.id]) & set(needs[beside.id])
    assert len(shared) == 4, "base, prepare, midtrain, sft"
    for number, result in enumerate(sorted(shared)):
        assert ready([beside], [first], needs) is None, number
        result.mkdir(parents=True)
    assert ready([beside], [first], needs) == beside
