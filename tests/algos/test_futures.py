import pytest
from algos_builders import ANSWER, episode, turn

from forethought.algos.credit import CreditConfig, credit_episodes
from forethought.algos.futures import DocumentFrequency, Futures
from forethought.types import StopReason


def others(*observations):
    """One-turn episodes of other tasks, one task each."""
    return [
        episode([turn(block=False, observation=text)], 0.0, task=f"other{n}")
        for n, text in enumerate(observations)
    ]


def rho(keywords, observation, *elsewhere, **kwargs):
    own = episode([turn(keywords=keywords, observation=observation, **kwargs)], 1.0)
    return Futures([own, *others(*elsewhere)]).rho(0, 0)


# What a keyword is worth


def test_a_true_future_entity_is_worth_one_fifth():
    assert rho(["moss"], "page about moss", "lamp", "reed") == pytest.approx(0.2)


def test_a_generic_keyword_is_worth_nothing():
    assert rho(["page"], "page about moss", "page of lamp", "a page") == 0.0


def test_a_keyword_that_comes_true_less_often_than_elsewhere_costs():
    assert rho(["page"], "moss", "page of lamp", "a page") == pytest.approx(-0.2)


def test_the_contrast_is_the_share_of_other_episodes():
    assert rho(["moss"], "moss", "moss", "lamp", "reed", "flint") == pytest.approx(0.75 / 5)


def test_a_term_of_the_question_is_worth_nothing():
    own = episode([turn(keywords=["moss"], observation="moss")], 1.0, question="where is moss ?")
    assert Futures([own, *others("lamp")]).rho(0, 0) == 0.0


def test_a_term_that_the_environment_or_the_policy_already_wrote_is_worth_nothing():
    for first in (turn(block=False, observation="moss"), turn(block=False, think="moss maybe")):
        own = episode([first, turn(keywords=["moss"], observation="moss")], 1.0)
        far = episode([turn(observation="lamp"), turn(observation="lamp")], 0.0, task="far")
        assert Futures([own, far]).rho(0, 1) == 0.0


def test_a_term_of_the_own_query_or_thought_does_not_come_true_by_itself():
    assert rho(["moss"], "moss", "lamp", think="I look for moss") == 0.0
    later = episode(
        [
            turn(keywords=["moss"], observation="lamp"),
            turn(block=False, think="moss now", observation="moss"),
        ],
        1.0,
    )
    assert Futures([later, *others("reed")]).rho(0, 0) == 0.0


def test_what_the_environment_printed_first_still_counts_when_the_policy_repeats_it():
    own = episode(
        [turn(keywords=["moss"], observation="moss"), turn(block=False, think="so moss")], 1.0
    )
    assert Futures([own, *others("lamp")]).rho(0, 0) == pytest.approx(0.2)


def test_further_sight_pays_and_short_lists_do_not_score_like_full_ones():
    near = rho(["moss"], "moss lamp reed", "flint")
    far = rho(["moss", "lamp", "reed"], "moss lamp reed", "flint")
    assert far == pytest.approx(3 * near)


def test_only_the_first_five_distinct_items_count():
    words = ["a1", "A1", "b1", "c1", "d1", "e1", "moss"]
    assert rho(words, "moss", "lamp") == 0.0


def test_without_a_later_observation_or_another_task_there_is_no_score():
    assert rho(["moss"], "", "moss") is None
    assert rho(["moss"], "moss") is None
    ended = episode([turn(block=False), turn(keywords=["moss"], observation="moss")], 1.0)
    assert Futures([ended, *others("lamp")]).rho(0, 1) is None


def test_the_contrast_is_step_matched_and_leaves_out_errors_and_the_own_task():
    own = episode([turn(), turn(keywords=["moss"], observation="moss")], 1.0)
    sibling = episode([turn(observation="moss"), turn(observation="moss")], 1.0)
    early = episode([turn(observation="moss"), turn(observation="lamp")], 0.0, task="x")
    short = episode([turn(observation="moss")], 0.0, task="y")
    lost = episode([turn(), turn(observation="moss")], 0.0, task="z", stop=StopReason.ERROR)
    assert Futures([own, sibling, early, short, lost]).rho(0, 1) == pytest.approx(0.2)


def test_idf_weights_move_credit_from_common_to_rare_items_and_keep_its_scale():
    frequency = DocumentFrequency.of(["page moss", "page lamp", "page reed"])
    assert frequency.weight("moss") > frequency.weight("page") > 0
    own = episode([turn(keywords=["moss", "page"], observation="moss")], 1.0)
    episodes = [own, *others("flint")]
    plain = Futures(episodes).rho(0, 0)
    weighted = Futures(episodes, frequency).rho(0, 0)
    assert plain == pytest.approx(0.2)
    total = frequency.weight("moss") + frequency.weight("page")
    assert weighted == pytest.approx(0.2 * 2 * frequency.weight("moss") / total)
    assert DocumentFrequency.of([]).weight("moss") == pytest.approx(0.6931471805599453)


# What credit makes of it


def bonus(group, *elsewhere):
    """plan - analysis of the first turn of each member."""
    rows = credit_episodes([*group, *others(*elsewhere)], CreditConfig(c_g=0.1))
    return [row[0].plan - row[0].analysis for row in rows[: len(group)]]


def test_in_a_group_without_a_success_no_block_gets_a_grounding_bonus():
    """A dark room: what is safely foreseen in failure must not be worth writing."""
    group = [
        episode([turn(q=0.0, keywords=["moss"], observation="moss")], 0.0),
        episode([turn(q=0.0, observation="moss")], 0.0),
    ]
    assert bonus(group, "lamp") == [0.0, 0.0]


def test_the_bonus_goes_to_members_that_succeeded_and_is_compared_with_all_others():
    hit, miss = turn(keywords=["moss"], observation="moss"), turn(observation="moss")
    group = [episode([hit], 1.0), episode([hit], 0.0), episode([miss], 1.0)]
    assert bonus(group, "lamp") == pytest.approx([0.1 * 0.2, -0.01, -0.01])


def test_a_member_that_lacks_the_turn_counts_as_zero():
    hit = turn(keywords=["moss"], observation="moss")
    group = [episode([turn(), hit], 1.0), episode([turn(action=ANSWER)], 0.0)]
    far = episode([turn(), turn(observation="lamp")], 0.0, task="far")
    rows = credit_episodes([*group, far], CreditConfig(c_g=0.1))
    assert rows[0][1].plan - rows[0][1].analysis == pytest.approx(0.02)


def test_actions_and_analysis_never_get_the_bonus():
    hit = turn(q=0.5, keywords=["moss"], observation="moss")
    group = [episode([hit], 1.0), episode([turn(q=0.5)], 0.0)]
    with_bonus = credit_episodes([*group, *others("lamp")], CreditConfig(c_g=0.1))
    without = credit_episodes([*group, *others("lamp")], CreditConfig(c_g=0.0))
    for row, plain in zip(with_bonus, without, strict=True):
        assert (row[0].act, row[0].analysis) == (plain[0].act, plain[0].analysis)
