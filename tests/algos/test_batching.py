from dataclasses import replace

import pytest
import torch
from algos_builders import rollout, sampled_turn
from hypothesis import given
from hypothesis import strategies as st

from forethought.algos.batching import (
    HELD,
    ReinforceConfig,
    SupervisedRule,
    as_rows,
    in_order,
    reinforced,
    supervised,
)
from forethought.algos.losses import (
    clipped_surrogate,
    cross_entropy,
    exact_brier,
    token_logprobs,
)
from forethought.algos.observations import with_observations
from forethought.types import BrierSlot, Span, TurnCredit

CREDIT = TurnCredit(plan=1.0, confidence=2.0, act=3.0, analysis=4.0)
NO_CREDIT = TurnCredit(plan=None, confidence=None, act=None)
LEVELS = range(900, 921)


def one_turn(spans, **kwargs):
    return rollout([sampled_turn(spans, 10, observation=0, **kwargs)])


def advantages(spans, credit=CREDIT, profile="causal", level_ids=None, **kwargs):
    """Advantage of each token of a one-turn rollout, "-" where it has no weight."""
    config = ReinforceConfig(profile=profile, level_ids=level_ids)
    sequence = reinforced(one_turn(spans, **kwargs), [credit], config)
    pairs = zip(sequence.advantage[3:], sequence.pg_weight[3:], strict=True)
    return [advantage if weight else "-" for advantage, weight in pairs]


def test_each_span_gets_its_own_advantage():
    assert advantages("ikactx") == [1.0, 1.0, 4.0, 2.0, 3.0, 3.0]


def test_prompt_and_observation_tokens_never_get_a_policy_gradient():
    source = rollout([sampled_turn("it", 10), sampled_turn("tx", 20)])
    sequence = reinforced(source, [CREDIT, CREDIT], ReinforceConfig())
    assert sequence.ids == (1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23)
    assert sequence.pg_weight == (0, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0)
    assert sequence.sampling_logprobs == (0, 0, 0, -0.1, -0.2, 0, 0, -0.1, -0.2, 0, 0)


def test_a_turn_behind_one_that_is_not_kept_whole_begins_a_document_with_its_own_past():
    first = replace(sampled_turn("itx", 10), kept_ids=(11, 12))
    second = replace(sampled_turn("tx", 20), kept_ids=None)
    source = rollout([first, second, sampled_turn("ix", 30)])
    sequence = reinforced(source, [CREDIT] * 3, ReinforceConfig())
    assert sequence.ids == (
        *(1, 2, 3, 10, 11, 12, 13, 14),
        *(1, 2, 3, 11, 12, 13, 14, 20, 21, 22, 23, 30, 31, 32, 33),
    )
    assert sequence.starts == (0, 8)
    assert sequence.pg_weight == (*(0,) * 3, *(1,) * 3, *(0,) * 9, 1, 1, 0, 0, 1, 1, 0, 0)
    taught = supervised(source, SupervisedRule())
    assert taught.starts == (0, 6)  # nobody reads the reply there, and it does not train
    assert taught.ids == sequence.ids[:6] + sequence.ids[8:]
    assert sum(taught.ce_weight) == 7
    kept = [replace(turn, kept_ids=None) for turn in source.turns]
    told = reinforced(rollout(kept), [CREDIT] * 3, ReinforceConfig())
    assert in_order(sequence, source) == told
    watched = supervised(source, SupervisedRule(observations=True))
    assert watched.ids == sequence.ids
    assert (sum(watched.ce_weight), sum(watched.obs_weight)) == (7, 3 * 2)


@given(turns=st.lists(st.text("ikactxo", min_size=1, max_size=9), min_size=1, max_size=4))
def test_weights_cover_the_response_exactly(turns):
    source = rollout([sampled_turn(t, 10) for t in turns])
    sampled = sum(len(t) for t in turns)
    assert sum(supervised(source, SupervisedRule()).ce_weight) == sampled
    grpo = ReinforceConfig(profile="grpo")
    assert sum(reinforced(source, [CREDIT] * len(turns), grpo).pg_weight) == sampled


def test_a_turn_that_a_profile_leaves_out_has_no_weight():
    assert advantages("ikactx", NO_CREDIT) == ["-"] * 6


def test_the_number_has_a_slot_instead_of_a_policy_gradient_where_a_level_is_one_token():
    source = one_turn("ikacccx")
    level = source.turns[0].ids[4]
    config = ReinforceConfig(outcome=1.0, level_ids=(level, *LEVELS))
    sequence = reinforced(source, [CREDIT], config)
    assert sequence.brier == (BrierSlot(position=3 + 4, target=1.0),)
    assert sequence.pg_weight[3:] == (1, 1, 1, 0, 0, 0, 1)
    assert sequence.kl_weight[3:] == (1, 1, 1, HELD, 0, HELD, 1)
    assert sequence.advantage[6:9] == (0, 0, 0)


def test_there_is_no_slot_without_exactly_one_level_token_and_a_readable_q():
    source = one_turn("ikacctx")
    ids = source.turns[0].ids
    for level_ids in (tuple(LEVELS), (ids[3], ids[4])):
        assert reinforced(source, [CREDIT], ReinforceConfig(level_ids=level_ids)).brier == ()
    unread = one_turn("ikacctx", q=None)
    assert reinforced(unread, [CREDIT], ReinforceConfig(level_ids=(ids[3],))).brier == ()


def test_other_profiles_share_the_credit_of_the_block_on_the_number_and_have_no_slots():
    credit = TurnCredit(plan=1.0, confidence=1.0, act=3.0, analysis=1.0)
    assert advantages("iccx", credit, "paper", LEVELS) == [1.0, 1.0, 1.0, 3.0]
    unread = TurnCredit(plan=1.0, confidence=None, act=3.0, analysis=1.0)
    assert advantages("iccx", unread, "paper") == [1.0, 1.0, 1.0, 3.0]
    assert advantages("iccx", unread, "causal") == [1.0, "-", "-", 3.0]


def test_tokens_before_the_number_never_get_a_baseline_that_knows_the_number():
    assert advantages("ioaotcox") == [1.0, 4.0, 4.0, 4.0, 4.0, 2.0, 3.0, 3.0]
    assert advantages("ioaotcox", profile="grpo")[1] == 3.0


def test_a_block_that_cannot_be_read_is_trained_with_the_credit_of_the_act():
    credit = TurnCredit(plan=None, confidence=None, act=3.0)
    assert advantages("ikatx", credit) == [3.0] * 5


def test_span_weights_scale_weights_and_not_advantages():
    config = ReinforceConfig(w_roadmap=0.5, w_keyword=0.5, w_analysis=0.5, w_act=2.0, w_other=2.0)
    sequence = reinforced(one_turn("ikax"), [CREDIT], config)
    assert sequence.pg_weight[3:] == (0.5, 0.5, 0.5, 2.0)
    assert sequence.advantage[3:] == (1.0, 1.0, 4.0, 3.0)


def test_words_that_choose_a_way_have_weights_of_their_own_inside_the_roadmap_alone():
    source = one_turn("iiikt")
    ids = source.turns[0].ids
    config = ReinforceConfig(
        decision_ids=frozenset((ids[1], ids[4])), w_decision=2.0, kl_decision=0.25, w_roadmap=0.5
    )
    sequence = reinforced(source, [CREDIT], config)
    assert sequence.pg_weight[3:] == (0.5, 2.0, 0.5, 1.0, 1.0)
    assert sequence.kl_weight[3:] == (1.0, 0.25, 1.0, 1.0, 1.0)
    assert sequence.advantage[3:] == (1.0, 1.0, 1.0, 1.0, 3.0)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (SupervisedRule(), "111111100 11100"),
        (SupervisedRule(block_only=True), "111110000 00000"),
        (SupervisedRule(turns=(1,)), "000000000 11100"),
        (SupervisedRule(block_only=True, turns=(0,)), "111110000 00000"),
        (SupervisedRule(skip=(Span.OTHER,)), "111111000 10100"),
        (SupervisedRule(unlabelled_turns=(0,)), "111001100 11100"),
        (SupervisedRule(unlabelled_turns=(0,), level_ids=(14,)), "111101100 11100"),
        (SupervisedRule(observations=True), "111111122 11122"),
        (SupervisedRule(observations=True, turns=(1,)), "000000000 11122"),
    ],
)
def test_a_supervised_rule_says_which_tokens_train(rule, expected):
    source = rollout([sampled_turn("ikaccto", 10), sampled_turn("tox", 30)])
    sequence = supervised(source, rule)
    replies = sequence.obs_weight or (0.0,) * len(sequence.ids)
    kinds = [int(w + 2 * o) for w, o in zip(sequence.ce_weight, replies, strict=True)]
    assert "".join(map(str, kinds)) == "000" + expected.replace(" ", "")


def test_the_first_token_of_a_sequence_has_no_weight():
    source = rollout([sampled_turn("ix", 10)], prompt=())
    assert supervised(source, SupervisedRule()).ce_weight[:2] == (0.0, 1.0)


class CausalModel(torch.nn.Module):
    """A small recurrent model: its logits at a token depend on the tokens up to it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed = torch.nn.Embedding(64, 8)
        self.body = torch.nn.GRU(8, 8, batch_first=True)
        self.head = torch.nn.Linear(8, 64)

    def forward(self, ids):
        return self.head(self.body(self.embed(ids.unsqueeze(0)))[0])[0]


def losses_of(model, sequences):
    """All loss terms of the sequences, summed."""
    total = torch.zeros(())
    for s in sequences:
        ids = torch.tensor(s.ids)
        logits = model(ids)[:-1]
        logprobs = token_logprobs(logits, ids[1:])
        if s.ce_weight:
            total = total + cross_entropy(logprobs, torch.tensor(s.ce_weight[1:]), denominator=7.0)
        if s.pg_weight:
            streams = (s.sampling_logprobs, s.advantage, s.pg_weight)
            tensors = [torch.tensor(stream[1:]) for stream in streams]
            surrogate = clipped_surrogate(logprobs, *tensors, clip=(0.2, 0.28), denominator=5.0)
            total = total + surrogate.loss
        if s.brier:
            at = torch.tensor([slot.position - 1 for slot in s.brier])
            target = torch.tensor([slot.target for slot in s.brier])
            total = total + exact_brier(logits[at], torch.arange(21) + 30, target, denominator=3.0)
    return total


@pytest.mark.parametrize("kind", ["supervised", "reinforced"])
def test_one_row_and_a_row_a_turn_give_the_same_loss_and_gradient(kind):
    source = rollout([sampled_turn("ikactx", 10), sampled_turn("ikcx", 20), sampled_turn("tx", 30)])
    if kind == "supervised":
        both = supervised(source, SupervisedRule(observations=True))
        ((whole,), _) = with_observations([both], 0.5)
    else:
        credits = [CREDIT, TurnCredit(plan=-1.0, confidence=0.5, act=-2.0, analysis=0.3), CREDIT]
        config = ReinforceConfig(outcome=1.0, level_ids=(13, 22))
        whole = reinforced(source, credits, config)
        assert len(whole.brier) == 2
    model = CausalModel()
    gradients = []
    for rows in ([whole], as_rows(whole, source)):
        model.zero_grad()
        loss = losses_of(model, rows)
        loss.backward()
        flat = torch.cat([p.grad.flatten() for p in model.parameters()])
        gradients.append((loss.detach(), flat))
    assert len(as_rows(whole, source)) == 3
    torch.testing.assert_close(gradients[0][0], gradients[1][0], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(gradients[0][1], gradients[1][1], rtol=1e-5, atol=1e-6)


def test_rows_without_weights_are_left_out_and_end_at_their_last_used_token():
    source = rollout([sampled_turn("ix", 10), sampled_turn("ix", 20)])
    rows = as_rows(supervised(source, SupervisedRule(turns=(1,))), source)
    assert [row.source for row in rows] == ["t/0#1"]
    assert rows[0].ids[-1] == 21
    assert sum(rows[0].ce_weight) == 2


def test_a_number_that_trains_has_a_brier_slot_on_demand_whose_target_is_the_number():
    source = rollout([sampled_turn("ikact", 10, q=0.3), sampled_turn("ikact", 20, q=0.8)])
    rule = SupervisedRule(level_ids=(13, 25), brier=True)  # 25: a thought, where no number is due
    assert supervised(source, rule).brier == (BrierSlot(position=6, target=0.3),)
    both = replace(rule, level_ids=(13, 23))
    assert [slot.target for slot in supervised(source, both).brier] == [0.3, 0.8]
    assert supervised(source, replace(both, turns=(1,))).brier[0].target == 0.8
    assert supervised(source, replace(both, skip=(Span.CONFIDENCE,))).brier == ()
    assert supervised(source, replace(both, brier=False)).brier == ()
    unread = rollout([sampled_turn("ikact", 10, q=None)])
    assert supervised(unread, rule).brier == ()
