"""Laws of selective answering: the curve by brute force, ties in expectation, bounds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forethought.stats.bootstrap import metric_draws
from forethought.stats.selective import aurc, success_at
from forethought.types import Episode
from tests.episode_builders import answering, block_of, episode_of

ROWS = st.lists(st.tuples(st.sampled_from([0.1, 0.5, 0.9]), st.booleans()), min_size=1, max_size=6)


def ones(n: int) -> np.ndarray:
    return np.ones((1, n))


def fine(q: list[float], y: list[float], order: tuple[int, ...], steps: int = 400) -> float:
    """The mean risk over all coverages by a fine sum, rows answered in this order."""
    n = len(q)
    total = 0.0
    for step in range(steps):
        covered = (step + 0.5) / steps * n
        whole = int(covered)
        lost = sum(1 - y[i] for i in order[:whole])
        if whole < n:
            lost += (covered - whole) * (1 - y[order[whole]])
        total += lost / covered
    return total / steps


@given(ROWS.filter(lambda rows: len({q for q, _ in rows}) == len(rows)))
def test_without_ties_the_area_is_that_of_the_curve(rows: list[tuple[float, bool]]) -> None:
    q, y = [r[0] for r in rows], [float(r[1]) for r in rows]
    order = tuple(sorted(range(len(q)), key=lambda i: -q[i]))
    found = aurc(np.array(q), np.array(y), ones(len(q)))[0]
    assert found == pytest.approx(fine(q, y, order), abs=0.02)


def test_a_tie_is_answered_as_a_mixture() -> None:
    q, y = np.array([0.9, 0.5, 0.5]), np.array([1.0, 1.0, 0.0])
    both = [success_at(q, y, ones(3), c)[0] for c in (1 / 3, 2 / 3, 1.0)]
    assert both == pytest.approx([1.0, 0.75, 2 / 3])
    orders = [fine([0.9, 0.6, 0.5], [1.0, *rest], (0, 1, 2)) for rest in ((1.0, 0.0), (0.0, 1.0))]
    assert min(orders) < aurc(q, y, ones(3))[0] < max(orders)


@given(ROWS)
def test_bounds_and_the_useless_estimate(rows: list[tuple[float, bool]]) -> None:
    q, y = np.array([r[0] for r in rows]), np.array([float(r[1]) for r in rows])
    weights = ones(len(q))
    assert 0.0 <= aurc(q, y, weights)[0] <= 1.0
    flat = np.full(len(q), 0.3)
    assert aurc(flat, y, weights)[0] == pytest.approx(1 - y.mean())
    assert success_at(flat, y, weights, 0.5)[0] == pytest.approx(y.mean())
    assert success_at(q, y, weights, 1.0)[0] == pytest.approx(y.mean())
    perfect = aurc(y, y, weights)[0]
    assert all(
        perfect <= aurc(np.array(other), y, weights)[0] + 1e-12
        for other in itertools.permutations(y.tolist())
    )


@given(ROWS, st.integers(1, 4))
def test_a_weight_is_a_count(rows: list[tuple[float, bool]], times: int) -> None:
    q, y = np.array([r[0] for r in rows]), np.array([float(r[1]) for r in rows])
    weights = np.ones((1, len(q)))
    weights[0, 0] = times
    many_q, many_y = np.append(q, [q[0]] * (times - 1)), np.append(y, [y[0]] * (times - 1))
    whole = ones(len(many_q))
    assert aurc(q, y, weights)[0] == pytest.approx(aurc(many_q, many_y, whole)[0])
    for c in (0.3, 0.5, 0.8):
        one, many = success_at(q, y, weights, c)[0], success_at(many_q, many_y, whole, c)[0]
        assert one == pytest.approx(many)


def test_nothing_to_answer_is_undefined() -> None:
    none = np.zeros(0)
    assert np.isnan(aurc(none, none, np.ones((2, 0)))).all()
    assert np.isnan(success_at(none, none, np.ones((2, 0)), 0.5)).all()


def voter(answer: str | None, success: int, q: float | None) -> Episode:
    return episode_of(answering(answer, block_of(q)), success, answer=answer)


def elected(*members: Episode) -> tuple[float | None, float | None]:
    found = metric_draws(members, ["success_voted", "success_voted_q"], seed=1, resamples=10)
    plain, weighed = (found.get(name) for name in ("success_voted", "success_voted_q"))
    return plain.point if plain else None, weighed.point if weighed else None


def test_the_commonest_answer_wins_and_q_can_outweigh_numbers() -> None:
    wrong, right = voter("No", 0, 0.1), voter("yes", 1, 0.9)
    assert elected(wrong, voter(" no ", 0, 0.2), right) == (0.0, 1.0)
    assert elected(right, voter("YES", 1, 0.05), wrong) == (1.0, 1.0)
    assert elected(right, wrong) == (1.0, 1.0)  # the first of two equal ones
    assert elected(voter(None, 0, 0.9), voter(None, 0, 0.9), right) == (1.0, 1.0)
    assert elected(voter(None, 0, 0.9), voter(None, 0, 0.8)) == (0.0, 0.0)
    assert elected(voter("no", 0, None), voter("no", 0, None), right) == (0.0, 1.0)


def test_one_rollout_a_task_has_no_vote() -> None:
    assert elected(voter("yes", 1, 0.9)) == (None, None)
