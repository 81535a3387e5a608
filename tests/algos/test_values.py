import json
from dataclasses import asdict

import numpy as np
import pytest
from algos_builders import episode, turn

from forethought.algos.values import ValueFit, bucket, fit_values, groups_of
from forethought.types import StopReason


def calibrated_groups(rng, num=400, size=4, steps=2):
    """Success rates by task; q of the first turn is exact, q of the second is uninformative."""
    episodes = []
    for task in range(num):
        p = rng.uniform(0.1, 0.9)
        for _ in range(size):
            won = float(rng.random() < p)
            turns = [turn(q=p), turn(q=float(rng.random()))][:steps]
            episodes.append(episode(turns, won, task=str(task)))
    return episodes


def test_the_slope_on_q_is_near_one_where_q_is_exact_and_near_zero_where_it_is_noise():
    fit = fit_values(calibrated_groups(np.random.default_rng(0)))
    assert fit.beta[0] == pytest.approx(1.0, abs=0.15)
    assert fit.gamma[0] == pytest.approx(0.0, abs=0.15)
    assert fit.beta[1] == pytest.approx(0.0, abs=0.1)
    assert fit.gamma[1] > 0.4
    assert fit.counts == (1600, 1600, 0)


def test_it_equals_a_ridge_regression_towards_the_mean_of_the_others():
    rng = np.random.default_rng(1)
    rewards = rng.random((6, 3))
    qs = rng.random((6, 3))
    episodes = [
        episode([turn(q=float(qs[g, i]))], float(rewards[g, i]), task=str(g))
        for g in range(6)
        for i in range(3)
    ]
    m = (rewards.sum(1, keepdims=True) - rewards) / 2
    x = np.stack([np.ones(18), qs.ravel(), m.ravel()], 1)
    prior = np.array([0.0, 0.0, 1.0])
    expected = prior + np.linalg.solve(
        x.T @ x + 2.0 * np.eye(3), x.T @ (rewards.ravel() - x @ prior)
    )
    fit = fit_values(episodes, ridge=2.0)
    assert (fit.alpha[0], fit.beta[0], fit.gamma[0]) == pytest.approx(tuple(expected))


def test_without_data_v_is_the_mean_of_the_others():
    fit = fit_values([])
    assert fit.value(0, 0.9, 0.25) == fit.value(7, 0.1, 0.25) == 0.25


def test_turns_without_a_readable_q_errors_and_groups_of_one_are_left_out():
    episodes = [
        episode([turn(q=None), turn(block=False)], 1.0),
        episode([turn(q=0.5)], 0.0, stop=StopReason.ERROR),
        episode([turn(q=0.5)], 0.0),
        episode([turn(q=0.5)], 1.0, task="alone"),
    ]
    assert fit_values(episodes).counts == (1, 0, 0)
    assert groups_of(episodes) == [[0, 2], [3]]


def test_the_third_turn_and_all_later_ones_share_a_bucket():
    assert [bucket(step) for step in range(5)] == [0, 1, 2, 2, 2]


def test_a_fit_survives_json():
    fit = fit_values(calibrated_groups(np.random.default_rng(2), num=10))
    assert ValueFit.from_dict(json.loads(json.dumps(asdict(fit)))) == fit
