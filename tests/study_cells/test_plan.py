"""Laws of a study file: cells are the product of its factors, claims name what is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from forethought.errors import InputError
from forethought.study.nodes import STAGES, Nodes, node_config, trained
from forethought.study.plan import read_plan, written

TEXT = """
name = "s"
config = "demo/atlas-fast"
seeds = [3, 4]
metrics = ["success", "keyword_lift"]
[set]
"control.arms" = []
"eval.greedy_too" = false
[factors.amt]
yes = {}
no = { "midtrain.epochs" = 0 }
[factors.rl]
grpo = { "rl.profile" = "grpo" }
causal = { "rl.updates" = 2 }
[[claims]]
claim = "it helps"
metric = "success"
cells = { "yes-causal" = 1, "no-causal" = -1 }
"""


def plan_of(tmp_path: Path, text: str = TEXT):
    file = tmp_path / "study.toml"
    file.write_text(text)
    return read_plan(file)


def test_cells_are_the_product_of_factors_and_seeds(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    assert [cell.id for cell in plan.cells[:4]] == [
        "3-yes-grpo",
        "3-yes-causal",
        "3-no-grpo",
        "3-no-causal",
    ]
    assert len(plan.cells) == 8 and plan.cells[-1].id == "4-no-causal"
    cell = plan.cell("4-no-causal")
    assert cell.config.seed == 4 and cell.config.midtrain.epochs == 0
    assert cell.config.rl.updates == 2 and cell.config.control.arms == ()
    with pytest.raises(InputError, match="4-no-causal"):
        plan.cell("5-no-causal")


def test_cells_share_a_stage_if_and_only_if_they_agree_up_to_it(tmp_path: Path) -> None:
    plan, nodes = plan_of(tmp_path), Nodes(tmp_path)

    def folders(stage: str) -> list[Path]:
        return [nodes.folder(cell.config, stage) for cell in plan.cells]

    assert [len(set(folders(stage))) for stage in STAGES] == [2, 2, 4, 4, 8]
    assert trained(plan.cells[0].config) == ["base", "midtrain", "sft", "rl"]
    assert trained(plan.cells[2].config) == ["base", "sft", "rl"]


def test_what_comes_after_a_stage_does_not_change_it(tmp_path: Path) -> None:
    config = plan_of(tmp_path).cells[0].config
    other = config.model_copy(
        update={"eval": config.eval.model_copy(update={"num_tasks": 7}), "name": "x"}
    )
    for stage in STAGES:
        assert node_config(config, stage) == node_config(other, stage)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"yes-causal" = 1', '"maybe-causal" = 1', "maybe-causal"),
        ('metric = "success"', 'metric = "luck"', "luck"),
        ("seeds = [3, 4]", "seeds = [3, 3]", "a seed twice"),
        ("seeds = [3, 4]", "seeds = []", "seeds"),
        ('"midtrain.epochs" = 0', '"midtrain.epoch" = 0', r"midtrain\.epoch"),
        ("name =", "nam =", "nam"),
        ("name =", "= name", "not TOML"),
    ],
)
def test_what_cannot_be_run_is_refused(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in TEXT
    with pytest.raises(InputError, match=told):
        plan_of(tmp_path, TEXT.replace(old, new))


def test_values_are_written_as_on_a_command_line() -> None:
    assert [written(v) for v in (True, 3, 0.5, "a b", [], ["sft", "rl"], [1, 2])] == [
        "true",
        "3",
        "0.5",
        "a b",
        "[]",
        '["sft", "rl"]',
        "[1, 2]",
    ]
