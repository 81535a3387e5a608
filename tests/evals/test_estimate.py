"""The q of a policy that writes none is fitted on what a log shows, and kept beside its model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from forethought.errors import GuardRail, InputError
from forethought.evals.estimate import FEATURES, Estimate, estimate_of, features, fit_estimate
from forethought.rollout.modes import mode_after
from forethought.types import Episode
from tests.stats.stats_builders import episode, turn


def _long(task: str, success: int, words: int) -> Episode:
    """An episode whose question is long exactly when it fails."""
    made = episode(task, success, turn(None), turn(None))
    return replace(made, question=" ".join(["w"] * words))


def _episodes() -> list[Episode]:
    return [_long(str(n), n % 2, 5 if n % 2 else 9) for n in range(40)]


def test_features_know_only_what_stands_before_the_turn() -> None:
    one = replace(turn(None), text="mentor banok", observation="buzur of east")
    found = episode("a", 1, one, replace(one, observation="never seen"))
    first, second = features(found, 0), features(found, 1)
    assert first == [0.0, 0.0, 9.0, 9.0]
    words = set(found.question.split())
    assert second == [1.0, 2 / len(words), 9.0, 9.0 + 2 + 3]
    assert len(first) == len(FEATURES)


def test_it_fills_every_turn_and_tells_the_outcomes_apart() -> None:
    episodes = _episodes()
    filled = fit_estimate(episodes).fill(episodes)
    assert len(filled) == len(episodes)
    for made in filled:
        for done in made.turns:
            assert done.q_expected is not None
            assert abs(done.q_expected - (made.success or 0)) < 0.1


def test_an_episode_without_turns_stays_as_it_is() -> None:
    estimate = fit_estimate(_episodes())
    assert estimate.fill([episode("a", 0)]) == [episode("a", 0)]


def test_without_a_turn_there_is_nothing_to_fit() -> None:
    with pytest.raises(GuardRail):
        fit_estimate([episode("a", 0), episode("b", 1, turn(), failed=True)])


def test_it_is_read_back_beside_the_stage_and_beside_its_model(tmp_path: Path) -> None:
    estimate = fit_estimate(_episodes())
    estimate.save(tmp_path / "rl" / "estimate.json")
    assert estimate_of(str(tmp_path / "rl")) == estimate
    assert estimate_of(str(tmp_path / "rl" / "model")) == estimate
    assert estimate_of(str(tmp_path / "sft")) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [('"overlap"', '"overlaps"'), ('"centre": [', '"centre": [1.0, '), ('"episodes"', '"episode"')],
)
def test_a_file_of_other_features_or_shape_is_refused(tmp_path: Path, old: str, new: str) -> None:
    file = tmp_path / "estimate.json"
    fit_estimate(_episodes()).save(file)
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(InputError, match=r"estimate\.json"):
        Estimate.load(file)


@pytest.mark.parametrize(
    ("stage", "arm", "mode"),
    [
        ("base", "full", "plain"),
        ("rl", "full", "faithful"),
        ("sft", "fe-sft-grpo", "faithful"),
        ("rl", "plain-grpo", "plain"),
        ("base", "prompted", "faithful"),
    ],
)
def test_an_arm_acts_as_it_was_trained(stage: str, arm: str, mode: str) -> None:
    assert mode_after(stage, arm) == mode
    never = mode_after(stage, arm, blocks=False)
    assert never == ("faithful" if arm == "prompted" else "plain")
