"""Where a stated probability comes to rest: what normalising a proper score does to it.

N members share a state with success rate p and state q = clip(mu + .05 noise). `drift` is the
expected policy gradient on mu: exact over the outcomes, averaged over fixed noise. A stated
probability rises where it is positive and falls where it is negative.
"""

import math

import numpy as np
import pytest
from algos_builders import episode, turn

from forethought.algos.advantages import centre, group_zscore, leave_one_out
from forethought.algos.credit import CreditConfig, credit_episodes

SIZE, SIGMA, DRAWS = 5, 0.05, 400


def drift(normalise, mu, p, bonus):
    noise = np.random.default_rng(0).standard_normal((DRAWS, SIZE))
    noise = np.concatenate([noise, -noise])  # antithetic: halves the error of the mean
    total = 0.0
    for successes in range(SIZE + 1):
        weight = math.comb(SIZE, successes) * p**successes * (1 - p) ** (SIZE - successes)
        outcome = [1.0] * successes + [0.0] * (SIZE - successes)
        mean = 0.0
        for row in noise.tolist():
            scores = []
            for e, won in zip(row, outcome, strict=True):
                q = min(max(mu + SIGMA * e, 0.0), 1.0)
                scores.append(bonus * won - (q - won) ** 2)
            mean += sum(e * a for e, a in zip(row, normalise(scores), strict=True))
        total += weight * mean / len(noise) / SIZE
    return total


@pytest.mark.parametrize("p", [0.2, 0.35, 0.5, 0.65, 0.8])
def test_leave_one_out_brings_a_stated_probability_to_the_success_rate(p):
    for bonus in (0.0, 1.0):
        assert drift(leave_one_out, p - 0.1, p, bonus) > 0
        assert drift(leave_one_out, p + 0.1, p, bonus) < 0


@pytest.mark.parametrize(("p", "sign"), [(0.35, -1), (0.65, +1)])
def test_the_group_zscore_drives_it_from_one_half_to_an_extreme(p, sign):
    """Regression that documents the bias: unanimous groups are amplified (rest points 0 and 1)."""
    for distance in (0.0, 0.15, 0.3, 0.45):
        assert sign * drift(group_zscore, 0.5 + sign * distance, p, bonus=0.0) > 0


def test_with_the_outcome_in_the_score_the_zscore_rests_far_below_the_success_rate():
    """The published form, N = 5, p = .35, from .5: it falls through .35 to about .10."""
    assert all(drift(group_zscore, mu, 0.35, bonus=1.0) < 0 for mu in (0.5, 0.35, 0.2))
    assert all(drift(group_zscore, mu, 0.65, bonus=1.0) > 0 for mu in (0.5, 0.65, 0.8, 0.95))


def test_these_are_the_scores_that_the_profiles_normalise():
    group = [episode([turn(q=q)], r) for q, r in ((0.9, 1.0), (0.3, 0.0), (0.6, 0.0))]
    brier = [(q - r) ** 2 for q, r in ((0.9, 1.0), (0.3, 0.0), (0.6, 0.0))]
    paper = credit_episodes(group, CreditConfig(profile="paper"))
    causal = credit_episodes(group, CreditConfig(profile="causal"))
    published = group_zscore([won - b for won, b in zip((1.0, 0.0, 0.0), brier, strict=True)])
    assert [row[0].confidence for row in paper] == pytest.approx(published)
    assert [row[0].confidence for row in causal] == pytest.approx(
        leave_one_out([-b for b in brier])
    )


@pytest.mark.parametrize("p", [0.0, 0.1, 0.35, 0.5, 0.8, 1.0])
def test_the_level_that_maximises_the_expected_score_is_the_success_rate(p):
    grid = [i / 100 for i in range(101)]
    best = max(grid, key=lambda q: -(p * (q - 1) ** 2 + (1 - p) * q**2))
    assert best == pytest.approx(p)


REST = {  # of q from one half, by success rate; groups of five, noise .05
    "centred": (0.09, 0.19, 0.35, 0.50, 0.65, 0.80, 0.91),
    "z-score": (0.00, 0.00, 0.00, 0.50, 1.00, 1.00, 1.00),
    "z-score with the outcome": (0.00, 0.00, 0.10, 0.52, 1.00, 1.00, 1.00),
}
RATES = (0.10, 0.20, 0.35, 0.50, 0.65, 0.80, 0.90)
FORMS = {
    "centred": (centre, 0.0),
    "z-score": (group_zscore, 0.0),
    "z-score with the outcome": (group_zscore, 1.0),
}


def rest(normalise, p, bonus):
    """Where a stated probability comes to rest that starts at one half: the next root."""
    start = drift(normalise, 0.5, p, bonus)
    if abs(start) < 1e-5:
        return 0.5
    end = 1.0 if start > 0 else 0.0
    way = np.linspace(0.5, end, 11).tolist()
    turned = [(drift(normalise, place, p, bonus) > 0) != (start > 0) for place in way]
    if True not in turned:
        return end
    first = turned.index(True)
    low, high = sorted(way[first - 1 : first + 1])
    for _ in range(5):
        middle = 0.5 * (low + high)
        rises = drift(normalise, middle, p, bonus) > 0
        low, high = (middle, high) if rises else (low, middle)
    return 0.5 * (low + high)


@pytest.mark.parametrize("form", FORMS)
def test_resting_points_are_those_of_the_table(form):
    normalise, bonus = FORMS[form]
    found = [rest(normalise, p, bonus) for p in RATES]
    assert found == pytest.approx(REST[form], abs=0.03)
