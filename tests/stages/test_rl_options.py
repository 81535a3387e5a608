"""Options of stage 3: which groups train, what the loss is divided by, when lambda is trusted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from forethought.runlog import MetricsLog
from forethought.schema import RlConfig
from forethought.stages.rl import recent_skill
from forethought.stats.batch import mixed_tasks, stated_skill
from forethought.training.credit import credit_config
from forethought.types import Episode, RolloutError, StopReason
from tests.episode_builders import answering, block_of, episode_of


def episode(task: str, reward: float, q: float | None = 0.5, *, lost: bool = False) -> Episode:
    turn = answering(block=None if q is None else block_of(q))
    made = episode_of(turn, int(reward > 0), task_id=task, reward=reward)
    gone = RolloutError(kind="tool", message="gone")
    return replace(made, success=None, stop_reason=StopReason.ERROR, error=gone) if lost else made


def test_a_group_is_mixed_by_the_rewards_of_its_valid_members() -> None:
    episodes = [
        *[episode("equal", 1.0)] * 3,
        episode("mixed", 1.0),
        episode("mixed", 0.0),
        episode("one", 0.0),
        episode("lost", 1.0),
        episode("lost", 0.0, lost=True),
    ]
    assert mixed_tasks(episodes) == {"mixed"}


def test_the_skill_of_the_stated_numbers_is_against_their_own_base_rate() -> None:
    sure = [episode("a", 1.0, 1.0), episode("b", 0.0, 0.0)]
    assert stated_skill(sure) == {"q_brier_skill": 1.0}
    flat = [episode("a", 1.0, 0.5), episode("b", 0.0, 0.5)]
    assert stated_skill(flat) == {"q_brier_skill": 0.0}
    assert stated_skill([episode("a", 1.0)]) == {}  # no base rate but 1
    assert stated_skill([episode("a", 1.0, None), episode("b", 0.0, None)]) == {}


def test_lambda_counts_only_behind_ten_updates_of_skill(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    section = RlConfig(lam=0.5)
    assert recent_skill(file) is None
    log = MetricsLog(file)
    for step in range(9):
        log.append(step + 1, q_brier_skill=0.3)
    assert recent_skill(file) is None
    assert credit_config(section, recent_skill(file)).lam == 1.0
    log.append(10, q_brier_skill=0.2)
    assert recent_skill(file) == pytest.approx(0.29)
    assert credit_config(section, recent_skill(file)).lam == 0.5
    for step in range(10):
        log.append(step + 11, q_brier_skill=0.05)
    assert credit_config(section, recent_skill(file)).lam == 1.0
    assert credit_config(RlConfig(), 0.3).lam == 1.0


def test_every_reading_of_the_paper_is_a_key() -> None:
    section = RlConfig(
        profile="paper-mean",
        matcher="all",
        future="all",
        normaliser="leave_one_out",
        plan_baseline="group",
        ablations=("soft", "td-add"),
    )
    made = credit_config(section)
    for name in ("profile", "matcher", "future", "normaliser", "plan_baseline", "ablations"):
        assert getattr(made, name) == getattr(section, name)
