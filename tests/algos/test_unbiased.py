"""The two-turn test: exact expectations of the estimators, by enumeration of all groups.

Turn 1 stops (return .3) or goes on (probability .5, logit theta_1); turn 2 takes arm A (success
.8) or B (success .2) (probability .5, logit theta_2). True gradient: theta_1 .25 (.5 - .3) = .050,
theta_2 .5 x .25 x .6 = .075. Every group of N rollouts is credited by the shipped code and weighted
by its probability, so agreement is to rounding. The wrong estimators stand beside ours: their
values are the bias that a change would bring back.
"""

import itertools
from dataclasses import dataclass

import pytest
from algos_builders import ANSWER, episode, turn

from forethought.algos.advantages import (
    NORMALISERS,
    centre,
    group_zscore,
    others_mean,
)
from forethought.algos.credit import CreditConfig, credit_episodes
from forethought.algos.values import ValueFit
from forethought.types import Episode, StopReason

TRUE = (0.050, 0.075)
TRUST_Q = ValueFit(alpha=(0.0,) * 3, beta=(1.0,) * 3, gamma=(0.0,) * 3, counts=(0,) * 3)


@dataclass(frozen=True)
class Outcome:
    """One possible rollout: probability, episode, and d log pi / d theta at each turn."""

    probability: float
    episode: Episode
    scores: tuple[float, ...]  # at turn t for theta_t
    rewards: tuple[float, ...]  # paid at turn t


def two_turns(q1=0.5, q2=0.5, stop_pays=0.3, continue_pays=0.0, arms=(0.8, 0.2)):
    first = turn(q=q1)
    stopped = episode([turn(q=q1, action=ANSWER)], stop_pays, success=0)
    outcomes = [Outcome(0.5, stopped, (-0.5,), (stop_pays,))]
    for score, success in zip((0.5, -0.5), arms, strict=True):
        for won, p in ((1, success), (0, 1 - success)):
            whole = episode([first, turn(q=q2, action=ANSWER)], continue_pays + won, success=won)
            outcomes.append(Outcome(0.25 * p, whole, (0.5, score), (continue_pays, float(won))))
    return outcomes


def groups(outcomes, size):
    """All groups with their probabilities."""
    for members in itertools.product(outcomes, repeat=size):
        probability = 1.0
        for member in members:
            probability *= member.probability
        yield probability, members


def shipped(outcomes, size, span="act", fit=None, **settings):
    """Expected gradient of (theta_1, theta_2) under the credits of a profile."""
    config = CreditConfig(**settings)
    total = [0.0, 0.0]
    for probability, members in groups(outcomes, size):
        rows = credit_episodes([m.episode for m in members], config, fit)
        for member, row in zip(members, rows, strict=True):
            for t, (score, credit) in enumerate(zip(member.scores, row, strict=True)):
                total[t] += probability * score * getattr(credit, span) / size
    return tuple(total)


def naive(outcomes, size, estimator):
    """Expected gradient under an estimator `members -> [i][t]` that is not shipped."""
    total = [0.0, 0.0]
    for probability, members in groups(outcomes, size):
        for member, row in zip(members, estimator(members), strict=True):
            for t, score in enumerate(member.scores):
                total[t] += probability * score * row[t] / size
    return tuple(total)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_causal_is_unbiased_when_the_policy_decides_when_to_stop(size):
    assert shipped(two_turns(), size) == pytest.approx(TRUE, abs=1e-9)


@pytest.mark.parametrize("q", [(0.1, 0.9), (0.5, 0.5), (0.9, 0.1)])
@pytest.mark.parametrize("span", ["act", "plan", "analysis"])
def test_causal_is_unbiased_for_any_stated_q_and_any_fit(q, span):
    outcomes = two_turns(*q)
    assert shipped(outcomes, 2, span, fit=TRUST_Q) == pytest.approx(TRUE, abs=1e-9)


def test_causal_is_unbiased_when_going_on_pays_at_once():
    outcomes = two_turns(continue_pays=0.4)
    assert shipped(outcomes, 3) == pytest.approx((0.150, 0.075), abs=1e-9)


def test_causal_is_unbiased_for_returns_that_are_no_verdicts():
    """Stop .4; arms pay .2 or .8 for sure: theta_1 .25 (.5 - .4), theta_2 .5 x .25 x .6."""
    paid = (0.8, 0.2)
    ends = [episode([turn(q=0.5), turn(q=0.5)], r, success=0) for r in paid]
    outcomes = [
        Outcome(0.5, episode([turn(q=0.5)], 0.4, success=0), (-0.5,), (0.4,)),
        Outcome(0.25, ends[0], (0.5, 0.5), (0.0, paid[0])),
        Outcome(0.25, ends[1], (0.5, -0.5), (0.0, paid[1])),
    ]
    assert shipped(outcomes, 5) == pytest.approx((0.025, 0.075), abs=1e-9)


@pytest.mark.parametrize("lam", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("q2", [0.1, 0.5, 0.9])
def test_a_td_mixture_is_biased_by_what_the_action_led_to(lam, q2):
    """theta_1 moves by (1 - lambda) x .25 x (q_2 - .5), theta_2 not at all."""
    gradient = shipped(
        two_turns(q2=q2), 2, fit=TRUST_Q, lam=lam, brier_skill=None if lam == 1 else 1.0
    )
    expected = 0.050 + (1 - lam) * 0.25 * (q2 - 0.5)
    assert gradient == pytest.approx((expected, 0.075), abs=1e-9)


def test_the_group_zscore_of_grpo_changes_the_direction():
    theta_1, theta_2 = shipped(two_turns(), 5, profile="grpo")
    assert theta_1 == pytest.approx(0.060, abs=1e-3)
    assert theta_2 == pytest.approx(0.177, abs=1e-3)
    assert theta_2 / theta_1 > 2.5  # the true ratio is 1.5


def test_a_mean_over_survivors_that_includes_the_member_starves_late_turns():
    def estimator(members):
        first = centre([m.episode.reward for m in members])
        late = centre([m.episode.reward if len(m.scores) == 2 else None for m in members])
        return list(zip(first, late, strict=True))

    assert naive(two_turns(), 5, estimator) == pytest.approx(
        (TRUE[0] * 4 / 5, TRUE[1] * 0.6125), abs=1e-9
    )


def summed_over_own_turns(per_turn):
    """Rewards compared a turn at a time and then summed over a member's later turns."""

    def estimator(members):
        tables = [
            per_turn([m.rewards[t] if t < len(m.rewards) else None for m in members])
            for t in range(2)
        ]
        return [
            [sum(tables[s][i] for s in range(t, len(m.rewards))) for t in range(len(m.rewards))]
            for i, m in enumerate(members)
        ]

    return estimator


def minus_others(values):
    return [
        None if v is None else v - (o or 0.0)
        for v, o in zip(values, others_mean(values), strict=True)
    ]


def test_centred_rewards_summed_over_own_turns_teach_to_stop():
    """How many terms the sum has is the member's own choice: the sign of theta_1 flips."""
    theta = naive(two_turns(), 5, summed_over_own_turns(minus_others))
    assert theta == pytest.approx((0.25 * (-0.3 + 0.5 / 16), 0.075), abs=1e-9)
    with_std = naive(two_turns(), 5, summed_over_own_turns(group_zscore))
    assert with_std == pytest.approx((-0.432, 0.097), abs=1e-3)


def test_the_hidden_price_of_a_further_turn_stays_when_going_on_pays():
    outcomes = two_turns(continue_pays=0.4)
    theta = naive(outcomes, 5, summed_over_own_turns(minus_others))
    assert theta == pytest.approx((0.0328, 0.0750), abs=1e-4)  # true .150


def test_a_baseline_of_the_same_turns_q_erases_the_gradient_of_the_plan():
    """Plans that succeed .8 or .2, each with its exact q; true gradient .25 x .6 = .15."""
    outcomes = []
    for score, p in ((0.5, 0.8), (-0.5, 0.2)):
        for won, chance in ((1, p), (0, 1 - p)):
            end = episode([turn(q=p, action=ANSWER)], float(won))
            outcomes.append(Outcome(0.5 * chance, end, (score,), (float(won),)))
    assert shipped(outcomes, 3, "plan", TRUST_Q)[0] == pytest.approx(0.150, abs=1e-9)
    assert shipped(outcomes, 3, "act", TRUST_Q)[0] == pytest.approx(0.0, abs=1e-9)


def run_on_or_be_concise():
    """ "Run on" is cut by length half the time and else pays .4; "concise" pays .3."""
    cut = episode([turn(q=0.5)], 0.0, stop=StopReason.LENGTH)
    return [
        Outcome(0.25, cut, (0.5,), (0.0,)),
        Outcome(0.25, episode([turn(q=0.5)], 0.4, success=0), (0.5,), (0.4,)),
        Outcome(0.50, episode([turn(q=0.5)], 0.3, success=0), (-0.5,), (0.3,)),
    ]


@pytest.mark.parametrize("normaliser", ["default", "leave_one_out"])
def test_a_rollout_cut_by_length_teaches_its_cost(normaliser):
    outcomes = run_on_or_be_concise()
    if normaliser == "default":
        assert shipped(outcomes, 5)[0] == pytest.approx(-0.025, abs=1e-9)
    else:
        assert shipped(outcomes, 5, profile="grpo", normaliser=normaliser)[0] == pytest.approx(
            -0.025, abs=1e-9
        )


def test_masking_rollouts_cut_by_length_flips_the_sign():
    def estimator(members):
        kept = [
            None if m.episode.stop_reason is StopReason.LENGTH else m.episode.reward
            for m in members
        ]
        return [[value or 0.0] for value in NORMALISERS["leave_one_out"](kept)]

    outcomes = run_on_or_be_concise()
    assert naive(outcomes, 5, estimator)[0] == pytest.approx(+0.0167, abs=1e-3)


def test_leaving_out_turns_that_were_cut_before_an_action_is_the_same_mistake():
    """Why stage 3 trains turns without an action: `void_turns="null"` loses what they cost."""
    outcomes = run_on_or_be_concise()
    cut = episode([turn(q=0.5, action=None)], 0.0, stop=StopReason.LENGTH)
    outcomes[0] = Outcome(0.25, cut, (0.5,), (0.0,))
    assert shipped(outcomes, 5)[0] == pytest.approx(-0.025, abs=1e-9)
    masked = 0.0
    for probability, members in groups(outcomes, 5):
        rows = credit_episodes([m.episode for m in members], CreditConfig(void_turns="null"))
        masked += probability * sum(
            m.scores[0] * (row[0].act or 0.0) / 5 for m, row in zip(members, rows, strict=True)
        )
    assert masked > 0.0
