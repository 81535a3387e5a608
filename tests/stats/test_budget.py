"""Laws of the vote at equal cost: by brute force over orders, by simulation, and at the ends."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forethought.stats.bootstrap import metric_draws
from forethought.stats.budget import Sampled, curve_rows, matched_row, voted_success
from forethought.stats.rows import columns, task_ids
from forethought.types import Episode
from tests.episode_builders import answering, episode_of

ANSWERS = st.lists(st.sampled_from(["right", "also", "a", "b", None]), min_size=1, max_size=4)


def rollout(answer: str | None, *, task: str = "t", index: int = 0, tokens: int = 10) -> Episode:
    won = int(answer in ("right", "also"))
    return episode_of(
        answering(answer),
        won,
        task_id=task,
        rollout=index,
        answer=answer,
        tokens_sampled=tokens,
    )


def first_elected(members: list[Episode]) -> float:
    """What the metric `success_voted` says of these rollouts in this order."""
    twice = [*members, replace(members[0], task_id="other"), replace(members[0], task_id="other")]
    return float(columns(twice, task_ids(twice))["success_voted"].q[0])


@settings(max_examples=40, deadline=None)
@given(ANSWERS)
def test_the_vote_of_n_is_the_mean_over_all_ordered_choices_of_n(
    answers: list[str | None],
) -> None:
    members = [rollout(answer) for answer in answers]
    found = voted_success(members)
    assert found[0] == 0.0 and len(found) == len(members) + 1
    for n in range(1, len(members) + 1):
        drawn = [first_elected(list(some)) for some in itertools.permutations(members, n)]
        assert found[n] == pytest.approx(np.mean(drawn))


def test_one_rollout_wins_as_often_as_rollouts_win_and_all_of_them_as_the_metric_says() -> None:
    members = [rollout(a) for a in ("a", "right", "right", None, "b", "right", "a")]
    found = voted_success(members)
    assert found[1] == pytest.approx(3 / 7)
    drawn = metric_draws(members, ["success_voted"], seed=0, resamples=2)
    assert found[-1] == drawn["success_voted"].point == 1.0


def test_a_vote_over_the_first_n_has_the_same_mean_and_more_noise() -> None:
    rng = np.random.default_rng(0)
    answers = rng.choice(["right", "a", "b"], size=(600, 8), p=[0.45, 0.35, 0.2])
    exact, begun = [], []
    for row in answers:
        members = [rollout(str(a)) for a in row]
        exact.append(voted_success(members)[3])
        begun.append(voted_success(members[:3])[3])
    error = np.std(np.array(exact) - np.array(begun)) / np.sqrt(600)
    assert abs(np.mean(exact) - np.mean(begun)) < 4 * error
    assert np.var(exact) < np.var(begun)


def test_many_rollouts_are_no_trouble() -> None:
    members = [rollout("right" if n % 3 == 0 else f"w{n % 7}") for n in range(64)]
    found = voted_success(members)
    assert 0.3 < found[1] < 0.4 and found[64] == 1.0
    assert all(0.0 <= value <= 1.0 + 1e-12 for value in found)


def evaluation(num: int = 40, k: int = 4, seed: int = 1) -> list[Episode]:
    """Tasks of unequal difficulty and cost."""
    rng = np.random.default_rng(seed)
    return [
        rollout(
            "right" if rng.random() < (task % 5) / 5 else str(rng.choice(["a", "b"])),
            task=str(task),
            index=n,
            tokens=int(10 + task % 7 + rng.integers(0, 3)),
        )
        for task in range(num)
        for n in range(k)
    ]


def row_of(mode: list[Episode], own: list[Episode] | None = None) -> dict[str, object]:
    sampled = Sampled.of(evaluation() if own is None else own)
    return matched_row(sampled, mode, seed=2, resamples=300)


def test_the_policy_itself_is_matched_by_one_rollout_and_is_not_better_than_itself() -> None:
    row = row_of(evaluation())
    assert row["rollouts"]["value"] == pytest.approx(1.0)
    assert row["success"]["value"] == pytest.approx(row["voted"]["value"])
    # In every resampling, too: the cost is matched anew in each.
    assert row["minus_voted"]["lo"] == pytest.approx(0.0, abs=1e-12)
    assert row["minus_voted"]["hi"] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("times", [1.5, 2.0, 3.25])
def test_a_dearer_mode_is_set_beside_the_vote_between_whole_numbers(times: float) -> None:
    own = evaluation()
    sampled = Sampled.of(own)
    per_task = sampled.tokens
    mode = [
        replace(rollout("right", task=task), tokens_sampled=0, tokens_extra=round(1000 * times * c))
        for task, c in zip(sampled.tasks, per_task, strict=True)
    ]
    scaled = [replace(e, tokens_sampled=1000 * e.tokens_sampled) for e in own]
    row = row_of(mode, scaled)
    assert row["rollouts"]["value"] == pytest.approx(times, abs=1e-3)
    low = int(times)
    curve = [0.0, *(point["success"] for point in curve_rows(sampled)), 0.0]
    expected = curve[low] + (times - low) * (curve[low + 1] - curve[low])
    assert row["voted"]["value"] == pytest.approx(expected, abs=1e-3)
    assert row["minus_voted"]["diff"] == pytest.approx(1.0 - expected, abs=1e-3)
    # Tokens that were thrown away count: without them the mode would look free.
    assert row["tokens"]["value"] > 0


def test_between_whole_numbers_a_coin_spends_the_budget_and_wins_as_often() -> None:
    """The interpolation is the mean of something that can be done."""
    own = Sampled.of(evaluation())
    rng = np.random.default_rng(3)
    mean = own.success.mean(axis=0)
    drawn = 1 + (rng.random(20_000) < 0.3)
    assert np.mean(drawn) == pytest.approx(1.3, abs=0.02)
    mode = [rollout("a", task=t, tokens=1) for t in own.tasks]
    share = [
        replace(e, tokens_sampled=round(1300 * c)) for e, c in zip(mode, own.tokens, strict=True)
    ]
    thousand = [replace(e, tokens_sampled=1000 * e.tokens_sampled) for e in evaluation()]
    row = row_of(share, thousand)
    assert row["voted"]["value"] == pytest.approx(np.mean(mean[drawn]), abs=0.01)


def test_a_mode_dearer_than_all_rollouts_together_is_not_matched() -> None:
    dear = [replace(e, tokens_sampled=1000) for e in evaluation(k=1)]
    row = row_of(dear)
    assert row["voted"]["value"] is None and row["minus_voted"] is None
    assert row["success"]["value"] is not None


def test_a_cheap_mode_is_set_beside_a_share_of_the_tasks() -> None:
    own = Sampled.of(evaluation())
    nothing = [rollout("a", task=task, tokens=0) for task in own.tasks]
    row = row_of(nothing)
    assert row["rollouts"]["value"] == 0.0 and row["voted"]["value"] == 0.0


def test_only_tasks_that_both_have_enter_and_the_shortest_task_bounds_the_vote() -> None:
    own = evaluation()[:-2]
    sampled = Sampled.of(own)
    assert sampled.k == 2 and sampled.success.shape == (40, 3)
    row = matched_row(sampled, evaluation(num=7), seed=0, resamples=20)
    assert row["num_tasks"] == 7
    assert matched_row(sampled, [rollout("a", task="new")], seed=0, resamples=20)["num_tasks"] == 0
