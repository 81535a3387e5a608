import math

import pytest
from algos_builders import ANSWER, episode, turn
from hypothesis import given
from hypothesis import strategies as st

from forethought.algos.advantages import group_zscore, leave_one_out
from forethought.algos.credit import CreditConfig, credit_episodes
from forethought.algos.values import ValueFit
from forethought.errors import InputError
from forethought.types import StopReason

PROFILES = ("causal", "paper", "paper-mean", "grpo")
FIT = ValueFit(alpha=(0.1, 0.2, 0.3), beta=(0.5, 0.4, 0.3), gamma=(0.2, 0.3, 0.4), counts=(9,) * 3)


def credit(episodes, value_fit=None, **settings):
    return credit_episodes(episodes, CreditConfig(**settings), value_fit)


def column(credits, field, t=0):
    return [getattr(row[t], field) for row in credits]


# What a turn's numbers are


@pytest.mark.parametrize("profile", PROFILES)
def test_a_span_that_a_turn_lacks_has_no_credit(profile):
    group = [
        episode([turn(block=False)], 1.0),
        episode([turn(q=None)], 0.0),
        episode([turn(q=0.5)], 0.0),
    ]
    rows = credit(group, profile=profile)
    assert [(c.plan is None, c.confidence is None, c.act is None) for (c,) in rows] == [
        (True, True, False),
        (False, True, False),
        (False, False, False),
    ]


@pytest.mark.parametrize("profile", PROFILES)
def test_a_rollout_that_the_machine_ended_is_null_and_in_no_statistic(profile):
    group = [episode([turn(q=0.3)], 1.0), episode([turn(q=0.6)], 0.0)]
    lost = episode([turn(q=0.9)], 0.0, stop=StopReason.ERROR)
    with_lost = credit([group[0], lost, group[1]], profile=profile)
    (nothing,) = with_lost[1]
    assert (nothing.plan, nothing.confidence, nothing.act, nothing.analysis) == (None,) * 4
    assert [with_lost[0], with_lost[2]] == credit(group, profile=profile)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("stop", [StopReason.MAX_TURNS, StopReason.LENGTH, StopReason.DONE])
def test_running_out_of_budget_or_length_is_a_failure_that_trains(profile, stop):
    rows = credit(
        [episode([turn(q=0.5)], 0.0, stop=stop), episode([turn(q=0.5)], 1.0)], profile=profile
    )
    assert rows[0][0].act < 0 < rows[1][0].act


@pytest.mark.parametrize("profile", PROFILES)
def test_a_turn_without_an_action_can_be_left_out_and_keeps_its_index(profile):
    void = turn(q=0.9, action=None)
    group = [
        episode([void, turn(q=0.4)], 1.0),
        episode([turn(q=0.2), turn(q=0.1)], 0.0),
        episode([turn(q=0.6), turn(q=0.7)], 1.0),
    ]
    rows = credit(group, profile=profile, void_turns="null")
    assert rows[0][0].act is None and rows[0][0].plan is None and rows[0][0].confidence is None
    assert rows[0][1].act is not None
    missing = [episode([turn(q=None, block=False), turn(q=0.4)], 1.0), *group[1:]]
    assert credit(missing, profile=profile)[1:] == rows[1:]
    assert credit(group, profile=profile)[0][0].act is not None


# Group statistics


@pytest.mark.parametrize("profile", PROFILES)
def test_a_group_of_one_has_zero_advantage(profile):
    rows = credit([episode([turn(q=0.3), turn(q=0.6)], 1.0)], FIT, profile=profile)
    for c in rows[0]:
        assert (c.plan, c.confidence, c.act) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_group_whose_members_are_all_equal_has_zero_advantage(profile):
    rows = credit([episode([turn(q=0.3)], 0.1) for _ in range(3)], profile=profile)
    assert all((c.plan, c.confidence, c.act) == (0.0, 0.0, 0.0) for row in rows for c in row)


def test_a_single_survivor_of_a_step_gets_zero_from_statistics_of_that_step():
    group = [episode([turn(q=0.3), turn(q=0.9)], 1.0), episode([turn(q=0.4)], 0.0)]
    paper = credit(group, profile="paper")[0]
    assert paper[1].plan == paper[1].confidence == 0.0
    assert paper[1].act == group_zscore([1.0, 0.0])[0]
    assert credit(group, profile="causal")[0][1].confidence == 0.0


@given(
    rewards=st.lists(st.sampled_from([0.0, 1.0, -0.01, 0.5]), min_size=1, max_size=5),
    qs=st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=15, max_size=15),
    lengths=st.lists(st.integers(1, 3), min_size=5, max_size=5),
    profile=st.sampled_from(PROFILES),
)
def test_every_number_is_finite(rewards, qs, lengths, profile):
    group = [
        episode([turn(q=qs[3 * i + t]) for t in range(lengths[i])], reward)
        for i, reward in enumerate(rewards)
    ]
    for row in credit(group, FIT, profile=profile):
        for c in row:
            assert all(math.isfinite(v) for v in (c.plan, c.act, c.analysis))
            assert c.confidence is None or math.isfinite(c.confidence)


def test_groups_are_found_by_task_wherever_their_members_stand():
    a = [episode([turn(q=0.2)], r, task="a") for r in (1.0, 0.0)]
    b = [episode([turn(q=0.7)], r, task="b") for r in (0.0, 0.5)]
    mixed = credit([a[0], b[0], a[1], b[1]])
    assert [mixed[0], mixed[2], mixed[1], mixed[3]] == credit(a) + credit(b)


# grpo


def test_grpo_gives_every_span_the_zscored_reward():
    group = [episode([turn(q=0.5), turn(q=0.5)], r) for r in (1.0, 0.0, 0.0, 0.0)]
    expected = group_zscore([1.0, 0.0, 0.0, 0.0])
    for row, value in zip(credit(group, profile="grpo"), expected, strict=True):
        for c in row:
            assert c.plan == c.confidence == c.act == c.analysis == value


def test_causal_without_its_terms_equals_grpo_under_the_same_normaliser_and_silences_the_number():
    rewards = (1.0, 0.0, 0.3, -0.01, 1.0)
    group = [episode([turn(q=0.1 * n), turn(q=0.5)], r) for n, r in enumerate(rewards)]
    ours = credit(group, profile="causal", c_g=0.0, c_q=0.0, omega=0.0)
    grpo = credit(group, profile="grpo", normaliser="leave_one_out")
    for row, other in zip(ours, grpo, strict=True):
        for c, g in zip(row, other, strict=True):
            assert c.plan == pytest.approx(g.plan, abs=1e-6)
            assert c.act == pytest.approx(g.act, abs=1e-6)
            assert c.confidence == 0.0


def test_paper_without_omega_equals_grpo_on_actions():
    group = [episode([turn(q=0.1 * n)], r) for n, r in enumerate((1.0, 0.0, 0.0))]
    paper = credit(group, profile="paper", omega=0.0)
    assert column(paper, "act") == column(credit(group, profile="grpo"), "act")


# paper


def test_paper_normalises_calibration_plus_grounding_over_the_block():
    group = [
        episode([turn(q=0.9, keywords=("moss", "lamp"), observation="moss here")], 1.0),
        episode([turn(q=0.6, keywords=("moss",), observation="nothing")], 0.0),
        episode([turn(q=0.2, observation="nothing")], 0.0),
    ]
    expected = group_zscore([1 - 0.01 + 0.5, -0.36, -0.04])
    rows = credit(group, profile="paper")
    assert column(rows, "plan") == pytest.approx(expected)
    assert column(rows, "confidence") == column(rows, "plan") == column(rows, "analysis")


def test_each_part_of_the_papers_block_reward_is_weighed_by_itself():
    group = [
        episode([turn(q=0.9, keywords=("moss", "lamp"), observation="moss here")], 1.0),
        episode([turn(q=0.6, keywords=("moss",), observation="nothing")], 0.0),
        episode([turn(q=0.2, observation="nothing")], 0.0),
    ]
    calibrated, grounded = [0.99, -0.36, -0.04], [0.5, 0.0, 0.0]
    for calib, ground in ((1.0, 0.0), (0.0, 1.0), (0.5, 2.0)):
        rewards = [calib * c + ground * g for c, g in zip(calibrated, grounded, strict=True)]
        rows = credit(group, profile="paper", r_calib=calib, r_ground=ground)
        assert column(rows, "plan") == pytest.approx(group_zscore(rewards))
    rows = credit(group, profile="paper", r_calib=0.0, r_ground=0.0)
    assert column(rows, "plan") == [0.0, 0.0, 0.0]


def test_paper_adds_omega_times_the_zscored_estimate_to_actions():
    group = [episode([turn(q=q)], r) for q, r in ((0.9, 1.0), (0.1, 0.0), (None, 0.0))]
    rows = credit(group, profile="paper", omega=0.5)
    reward = group_zscore([1.0, 0.0, 0.0])
    assert column(rows, "act") == pytest.approx([reward[0] + 0.5, reward[1] - 0.5, reward[2]])


def test_paper_counts_an_unreadable_estimate_as_calibration_zero_and_keeps_the_turn_in_the_group():
    group = [episode([turn(q=q)], r) for q, r in ((0.9, 1.0), (0.1, 0.0), (None, 0.0))]
    rows = credit(group, profile="paper")
    assert column(rows, "plan") == pytest.approx(group_zscore([0.99, -0.01, 0.0]))
    assert rows[2][0].confidence is None


@pytest.mark.parametrize(("matcher", "reward"), [("fraction", 1 / 3), ("all", 0.0), ("any", 1.0)])
def test_the_three_readings_of_keywords_that_manifest(matcher, reward):
    words = ("moss", "lamp", "reed", "Moss")
    group = [
        episode([turn(q=0.5, keywords=words, observation="moss")], 0.0),
        episode([turn(q=0.5, observation="moss")], 0.0),
        episode([turn(q=0.5, observation="moss")], 0.0),
    ]
    rows = credit(group, profile="paper-mean", matcher=matcher)
    assert rows[0][0].plan == pytest.approx(reward - reward / 3)


def test_the_future_of_paper_may_include_what_the_policy_writes_itself():
    block = turn(q=0.5, keywords=("moss",), observation="nothing", think="look for moss")
    group = [episode([block], 0.0), episode([turn(q=0.5, observation="nothing")], 0.0)]
    assert column(credit(group, profile="paper-mean"), "plan") == [0.0, 0.0]
    own = credit(group, profile="paper-mean", future="all")
    assert column(own, "plan") == pytest.approx([0.5, -0.5])


def test_the_number_that_paper_scores_is_written_before_the_action_and_cannot_steer_it():
    """The mean over sampled actions of A_S times grad log pi is 0; the TD form's is not."""
    outcomes = [
        (0.5 * 0.5 * (p if won else 1 - p), q, won, +0.5 if act else -0.5)
        for q in (0.3, 0.8)
        for act, p in ((1, 0.6), (0, 0.2))
        for won in (0, 1)
    ]
    total = {"episode": 0.0, "steered": 0.0, "td": 0.0}
    for first in outcomes:
        for second in outcomes:
            pair = (first, second)
            weight = first[0] * second[0]
            group = [
                # the second turn's estimate tells what the first action did
                episode([turn(q=q), turn(q=0.6 if g > 0 else 0.2, action=ANSWER)], float(won))
                for _, q, won, g in pair
            ]
            for name, settings in (
                ("episode", {"profile": "paper-mean", "omega": 0.0, "normaliser": "centre"}),
                ("steered", {"profile": "paper", "omega": 1.0, "normaliser": "centre"}),
                ("td", {"profile": "causal", "omega": 1.0, "ablations": ("td-add",)}),
            ):
                rows = credit(group, **settings)
                total[name] += weight * sum(
                    o[3] * row[0].act for o, row in zip(pair, rows, strict=True)
                )
    assert total["steered"] == pytest.approx(total["episode"], abs=1e-12)
    # leave-one-out doubles the centred group mean of two; TD adds omega times the same again
    assert total["td"] == pytest.approx(2 * 2 * total["episode"], abs=1e-12)


# causal


def test_causal_baselines_are_those_of_the_estimator():
    group = [episode([turn(q=q), turn(q=0.4)], r) for q, r in ((0.9, 1.0), (0.2, 0.0), (None, 0.5))]
    rows = credit(group, FIT)
    m = [0.25, 0.75, 0.5]
    v1 = [FIT.value(0, 0.9, m[0]), FIT.value(0, 0.2, m[1]), m[2]]
    v2 = [FIT.value(1, 0.4, own) for own in m]
    for i, reward in enumerate((1.0, 0.0, 0.5)):
        assert rows[i][0].act == pytest.approx(reward - v1[i])
        assert rows[i][1].act == pytest.approx(reward - v2[i])
        assert rows[i][0].plan == rows[i][0].analysis == pytest.approx(reward - m[i])
        assert rows[i][1].plan == pytest.approx(reward - v1[i])


def test_without_a_fit_every_baseline_is_the_mean_of_the_others():
    group = [episode([turn(q=0.2), turn(q=0.9)], r) for r in (1.0, 0.0, 0.0)]
    for row, expected in zip(credit(group), leave_one_out([1.0, 0.0, 0.0]), strict=True):
        for c in row:
            assert c.plan == c.act == expected


def test_causal_confidence_is_the_leave_one_out_of_the_brier_score():
    group = [episode([turn(q=q)], r) for q, r in ((0.9, 1.0), (0.2, 0.0), (None, 0.0))]
    rows = credit(group, c_q=2.0)
    assert column(rows, "confidence") == pytest.approx([2 * 0.03, 2 * -0.03, None])


def test_the_soft_target_of_the_first_turn_is_kept_as_an_ablation():
    group = [episode([turn(q=q), turn(q=0.5)], r) for q, r in ((0.9, 1.0), (0.2, 0.0))]
    rows = credit(group, ablations=("soft",))
    first = leave_one_out([-((0.9 - 0.5) ** 2), -((0.2 - 0.5) ** 2)])
    assert column(rows, "confidence") == pytest.approx(first)
    assert column(rows, "confidence", 1) == column(credit(group), "confidence", 1)


def test_the_added_temporal_difference_needs_both_estimates():
    group = [
        episode([turn(q=0.2), turn(q=0.6)], 1.0),
        episode([turn(q=0.5), turn(q=None)], 0.0),
        episode([turn(q=0.4), turn(q=0.5)], 0.0),
    ]
    rows = credit(group, ablations=("td-add",), omega=0.2)
    a_e = leave_one_out([1.0, 0.0, 0.0])
    assert column(rows, "act") == pytest.approx([a_e[0] + 0.2 * 0.3, a_e[1], a_e[2] - 0.2 * 0.3])
    last = leave_one_out([1 - 0.6, None, 0 - 0.5])
    assert rows[0][1].act == pytest.approx(a_e[0] + 0.2 * last[0])


def test_a_baseline_that_reads_the_number_after_it_was_planned_is_refused():
    with pytest.raises(InputError, match="erase its gradient"):
        CreditConfig(plan_baseline="own")


@pytest.mark.parametrize("skill", [None, 0.0, 0.1])
def test_a_td_mixture_is_refused_without_a_proven_estimate(skill):
    with pytest.raises(InputError, match="unbiased"):
        CreditConfig(lam=0.5, brier_skill=skill)
    CreditConfig(lam=0.5, brier_skill=0.11)


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="causal, paper"):
        CreditConfig(profile="ppo")
    with pytest.raises(InputError, match="td-add"):
        CreditConfig(ablations=("td",))
