"""GiGPO compares turns that began in one state, and equals GRPO where no state is shared."""

from __future__ import annotations

import random
from statistics import fmean, pstdev

import pytest
from algos_builders import ANSWER, episode, turn

from forethought.algos.advantages import centre
from forethought.algos.credit import CreditConfig, credit_episodes
from forethought.algos.gigpo import step_advantages, step_groups
from forethought.errors import InputError
from forethought.types import Episode, TurnCredit


def _walk(observations: list[str], reward: float) -> Episode:
    turns = [turn(block=False, observation=text) for text in observations]
    return episode([*turns, turn(block=False, action=ANSWER)], reward)


def _act(rows: list[list[TurnCredit]]) -> list[list[float | None]]:
    return [[credit.act for credit in row] for row in rows]


def test_a_state_is_what_was_said_last_whoever_was_told_it_and_when() -> None:
    anchors = [["", "a", "b"], ["", "b"], ["", "c"]]
    assert step_groups(anchors, 1.0) == [
        [(0, 0), (1, 0), (2, 0)],
        [(0, 1)],
        [(0, 2), (1, 1)],
        [(2, 1)],
    ]


def test_by_hand_two_walks_meet_at_different_steps() -> None:
    """Returns of the shared state "b": 1 (last turn of a walk that won) and 0."""
    found = step_advantages(
        [["", "a", "b"], ["", "b"]], [1.0, 0.0], gamma=0.5, similarity=1.0, normalise=centre
    )
    assert found == {
        (0, 0): 0.125,  # .25 against 0
        (1, 0): -0.125,
        (0, 1): 0.0,  # nobody else was there
        (0, 2): 0.5,
        (1, 1): -0.5,
    }


def test_advantage_is_that_of_the_episode_plus_omega_times_that_of_the_step() -> None:
    group = [_walk(["a", "b"], 1.0), _walk(["b"], 0.0), _walk(["c"], 0.0)]
    grpo = _act(credit_episodes(group, CreditConfig(profile="grpo")))
    without = _act(credit_episodes(group, CreditConfig(profile="gigpo", omega=0.0)))
    assert without == grpo
    config = CreditConfig(profile="gigpo", omega=1.0, gamma=0.9)
    both = _act(credit_episodes(group, config))
    first = [0.81, 0.0, 0.0]
    for i in range(3):
        step = (first[i] - fmean(first)) / pstdev(first)
        assert both[i][0] == pytest.approx((grpo[i][0] or 0.0) + step, abs=1e-12)
    assert both[0][2] == pytest.approx((grpo[0][2] or 0.0) + 1.0)
    assert both[1][1] == pytest.approx((grpo[1][1] or 0.0) - 1.0)
    assert both[2][1] == grpo[2][1]


def test_without_shared_states_the_first_turn_alone_differs_from_grpo() -> None:
    rng = random.Random(3)
    group = [
        _walk([f"{i}.{t}" for t in range(rng.randint(1, 4))], float(rng.random() < 0.5))
        for i in range(8)
    ]
    grpo = _act(credit_episodes(group, CreditConfig(profile="grpo")))
    mine = _act(credit_episodes(group, CreditConfig(profile="gigpo", omega=1.0)))
    assert [row[1:] for row in mine] == [row[1:] for row in grpo]
    assert [row[0] for row in mine] != [row[0] for row in grpo]


def test_all_spans_of_a_turn_share_its_credit_and_a_void_turn_can_be_left_out() -> None:
    void = turn(0.5, action=None, observation="a")
    group = [
        episode([turn(0.5, observation="a"), void, turn(0.9, action=ANSWER)], 1.0),
        episode([turn(0.5, observation="a"), turn(0.1, action=ANSWER)], 0.0),
    ]
    config = CreditConfig(profile="gigpo", omega=1.0, void_turns="null")
    rows = credit_episodes(group, config)
    assert rows[0][1].act is None
    assert {rows[0][0].plan, rows[0][0].confidence, rows[0][0].analysis} == {rows[0][0].act}
    # Behind "a" stand the last turns of both: the void turn between them is in no group.
    assert rows[0][2].act == pytest.approx(2.0) and rows[1][1].act == pytest.approx(-2.0)


def test_alike_texts_are_one_state_from_the_threshold_on() -> None:
    anchors = [["the page of oslo lists 3 rivers"], ["the page of oslo lists 4 rivers"], ["none"]]
    assert len(step_groups(anchors, 1.0)) == 3
    assert len(step_groups(anchors, 0.9)) == 2
    assert len(step_groups(anchors, 0.99)) == 3


@pytest.mark.parametrize("bad", [{"gamma": 0.0}, {"gamma": 1.1}, {"anchor_similarity": 0.0}])
def test_settings_out_of_range_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(InputError, match="above 0, at most 1"):
        CreditConfig(profile="gigpo", **bad)  # type: ignore[arg-type]
