"""Laws of estimates side by side: agreement of answers, rows, paired differences."""

from __future__ import annotations

import numpy as np
import pytest

from forethought.stats.bootstrap import metric_draws
from forethought.stats.estimates import ESTIMATES, Estimated, agreement, estimate_rows
from forethought.stats.metrics import auroc
from forethought.stats.selective import aurc
from forethought.types import Episode
from tests.episode_builders import answering, episode_of
from tests.stats.stats_builders import episode, turn


def answer(task: str, text: str | None, success: int = 0) -> Episode:
    return episode_of(answering(text), success, task_id=task, answer=text)


def test_agreement_counts_the_rollout_itself_and_only_its_own_task() -> None:
    found = agreement(
        [
            answer("a", "x"),
            answer("a", " X "),
            answer("a", "y"),
            answer("a", None),
            answer("b", "x"),
            answer("c", "x"),
            answer("c", "x"),
        ]
    )
    assert found == [0.5, 0.5, 0.25, 0.0, None, 1.0, 1.0]


def test_rollouts_that_the_machine_ended_neither_agree_nor_count() -> None:
    lost = episode("a", 0, turn(), failed=True)
    assert agreement([answer("a", "x"), answer("a", "x"), lost]) == [1.0, 1.0, None]


@pytest.mark.parametrize("k", [2, 5])
def test_the_mean_agreement_of_independent_answers_is_the_closed_form(k: int) -> None:
    """1/K + (K - 1)/K sum p^2; without the rollout itself it would be sum p^2."""
    p, num = np.array([0.5, 0.3, 0.2]), 4000
    drawn = np.random.default_rng(0).choice(3, size=(num, k), p=p)
    episodes = [answer(str(t), str(a)) for t, row in enumerate(drawn) for a in row]
    values = np.array(agreement(episodes), dtype=np.float64)
    expected = 1 / k + (k - 1) / k * float(p @ p)
    error = values.reshape(num, k).mean(axis=1).std() / np.sqrt(num)
    assert abs(values.mean() - expected) < 4 * error
    assert abs(values.mean() - float(p @ p)) > 10 * error


def test_the_area_of_a_perfect_ranking_is_the_closed_form() -> None:
    """With success rate p risk is 0 up to coverage p, then (c - p) / c: 1 - p + p log p."""
    for won in (1, 30, 60, 99):
        y = np.array([1.0] * won + [0.0] * (100 - won))
        p = won / 100
        found = aurc(y, y, np.ones((1, 100)))[0]
        assert found == pytest.approx(1 - p + p * np.log(p))
        # The other way round losses come first: it must not be taken for as good.
        assert aurc(1.0 - y, y, np.ones((1, 100)))[0] > found + 0.01


def sample(num: int = 60) -> list[Episode]:
    """Tasks of two rollouts whose q tells something."""
    rng = np.random.default_rng(4)
    made = []
    for n in range(num):
        for rollout in range(2):
            q = float(rng.integers(1, 20)) / 20
            won = int(rng.random() < q)
            made.append(episode(f"t{n}", won, turn(q), rollout=rollout))
    return made


def values_of(episodes: list[Episode]) -> tuple[float | None, ...]:
    return tuple(e.turns[0].q_expected for e in episodes)


def test_the_row_of_the_expected_q_is_what_the_summary_says() -> None:
    episodes = sample()
    one = Estimated(name="q-expected", cut="first", values=values_of(episodes))
    row = estimate_rows([one], episodes, seed=3, resamples=200)[0]
    drawn = metric_draws(episodes, seed=3, resamples=200)
    for name in ("brier_skill", "auroc", "ece"):
        draws = drawn[f"{name}_expected.first"]
        low, high = np.percentile(draws.values_R, [2.5, 97.5])
        assert row[name]["value"] == pytest.approx(draws.point)
        assert (row[name]["lo"], row[name]["hi"]) == pytest.approx((low, high))
    assert row["q_minus"] is None and row["n"] == 120


def test_a_difference_is_paired_and_on_the_episodes_of_which_both_speak() -> None:
    episodes = sample()
    q = values_of(episodes)
    holes = tuple(None if n % 3 == 0 else value for n, value in enumerate(q))
    worse = tuple(None if v is None else 0.5 for v in holes)
    found = estimate_rows(
        [
            Estimated(name="q-expected", cut="first", values=q),
            Estimated(name="step", cut="first", values=holes),
            Estimated(name="base-rate", cut="first", values=worse),
        ],
        episodes,
        seed=3,
        resamples=200,
    )
    same, constant = found[1]["q_minus"], found[2]["q_minus"]
    assert found[1]["n"] == 80
    # The same values on the same rows: every draw is equal, unlike with 120 rows against 80.
    assert same["auroc"] == {"diff": 0.0, "lo": 0.0, "hi": 0.0, "p": 1.0}
    rows = [n for n, value in enumerate(holes) if value is not None]
    y = np.array([float(episodes[n].success or 0) for n in rows])
    own = auroc(np.array([q[n] for n in rows]), y, np.ones((1, len(rows))))[0]
    assert constant["auroc"]["diff"] == pytest.approx(own - 0.5)
    assert constant["auroc"]["lo"] > 0


def test_what_only_ranks_has_no_calibration_and_nothing_said_is_null_with_its_reason() -> None:
    episodes = sample(20)
    raw = tuple(-float(n) for n in range(40))
    rows = estimate_rows(
        [
            Estimated(name="sequence", cut="last", values=raw),
            Estimated(name="p-true", cut="last", values=(None,) * 40, reason="cannot be asked"),
        ],
        episodes,
        seed=1,
        resamples=50,
    )
    assert rows[0]["brier_skill"] is None and rows[0]["ece"] is None
    assert rows[0]["auroc"]["value"] is not None
    silent = rows[1]
    assert silent["reason"] == "cannot be asked" and silent["n"] == 0
    assert silent["auroc"] == {"value": None, "lo": None, "hi": None, "n": 0}


def test_every_estimate_has_a_line() -> None:
    assert all(ESTIMATES.values()) and list(ESTIMATES)[:2] == ["q", "q-expected"]
