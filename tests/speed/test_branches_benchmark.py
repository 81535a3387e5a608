"""benchmarks/branches.py: both sides execute the same states, ours all of them in one call."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")

from speed_builders import check_rows, script

from forethought.domains.atlas import AtlasDomain, atlas_tokenizer
from forethought.evals.baselines import scripted_backend
from forethought.hindsight.branch import Student
from forethought.rewards.terms import RewardConfig
from forethought.rollout.engine import EngineConfig
from forethought.schema import RunConfig
from forethought.stages.prepare import branch_places, branch_points


@pytest.fixture
def branches(monkeypatch: pytest.MonkeyPatch) -> Any:
    return script(monkeypatch, "branches")


@pytest.fixture
def work(branches: Any) -> Any:
    """Four states of atlas and the wanderer, whose turns count as tokens."""
    domain, tokenizer = AtlasDomain.from_config(RunConfig(seed=100)), atlas_tokenizer()
    backend: Any = scripted_backend("wanderer", domain.law, tokenizer)
    backend.stats = SimpleNamespace(sampled=0, waves=0)
    generate = backend.generate

    async def counted(request: Any) -> Any:
        done = await generate(request)
        backend.stats.sampled += len(done.ids)
        return done

    backend.generate = counted
    student = Student(
        backend=backend,
        tokenizer=tokenizer,
        text_format=domain.text_format,
        engine=EngineConfig(max_turns=6),
        make_env=domain.make_env,
        reward=RewardConfig(),
        seed=1,
    )
    trajectories = domain.trajectories(12, tokenizer)
    points = branch_points(trajectories, branch_places(trajectories, 4, 0), student)
    return branches.Work(student, trajectories, points, 2, 2)


def test_both_sides_do_the_same_work(branches: Any, work: Any) -> None:
    found = branches.rows(work, "branch", 1) + branches.rows(work, "label", 1)
    check_rows(found)
    assert [row["x"]["measure"] for row in found] == ["cpu", "wall"] * 2
    for row in found:
        assert row["peer"]["name"] == "one state at a time" and row["x"]["states"] == 4
        assert row["per_minute"]["ours"] == pytest.approx(60_000 / row["ours"]["median"], rel=0.01)
        assert row.get("same_counts", 1) == row.get("same_alternatives", 1) == 1
    labels = found[2]["equal_work"]
    assert labels["tokens_ours"] == labels["tokens_peer"] > 0


def test_counts_that_differ_are_told(branches: Any, work: Any) -> None:
    mine = branches.labels_together(work)
    other = [replace(mine[0], k=mine[0].k + 1), *mine[1:]]
    assert branches.of_labels(mine, mine)["same_counts"] == 1
    assert branches.of_labels(mine, other)["same_counts"] == 0.75
    options = branches.branches_together(work)
    shorter = [options[0][:-1], *options[1:]]
    assert branches.of_branches(options, options)["same_alternatives"] == 1
    assert branches.of_branches(options, shorter)["same_alternatives"] == 0.75
