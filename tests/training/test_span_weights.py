"""What a user writes under [rl] about credit reaches the tokens that stage 3 trains."""

from __future__ import annotations

import pytest

from forethought.algos.batching import reinforced
from forethought.schema import RlConfig
from forethought.training.credit import credit_config, reinforce_config
from forethought.types import TurnCredit
from tests.algos.algos_builders import rollout, sampled_turn

SPANS = {
    "w_decision": "d",
    "w_roadmap": "i",
    "w_keyword": "k",
    "w_analysis": "a",
    "w_act": "tx",
    "w_other": "o",
}
KEYS = tuple(name for name in RlConfig.model_fields if name.startswith("w_"))
CREDIT = TurnCredit(plan=1.0, confidence=2.0, act=3.0, analysis=4.0)


def weights(**section: object) -> dict[str, float]:
    """Policy-gradient weight of one token of each kind of span; d: a decision in the roadmap."""
    source = rollout([sampled_turn("iikacotx", 10, observation=0)])
    rule = reinforce_config(
        RlConfig(**section),
        outcome=1.0,
        level_ids=tuple(range(900, 921)),
        decision_ids=frozenset(source.turns[0].ids[:1]),
    )
    found = reinforced(source, [CREDIT], rule).pg_weight[len(source.prompt_ids) :]
    return dict(zip("dikacotx", found, strict=True))


@pytest.mark.parametrize("key", KEYS)
def test_a_span_weight_of_the_configuration_is_that_of_its_tokens_and_of_no_others(
    key: str,
) -> None:
    before, after = weights(), weights(**{key: 7.0})
    changed = {kind for kind, weight in after.items() if weight != before[kind]}
    assert changed == set(SPANS[key])
    assert {after[kind] for kind in changed} == {7.0}


@pytest.mark.parametrize("profile", ["paper", "grpo"])
def test_the_other_profiles_weigh_all_tokens_alike_whatever_the_weights_say(profile: str) -> None:
    found = weights(profile=profile, **dict.fromkeys(KEYS, 7.0))
    assert set(found.values()) == {1.0}


def test_the_credit_settings_are_those_of_the_configuration() -> None:
    made = credit_config(RlConfig(profile="paper", omega=0.3, c_g=0.4, c_q=0.6))
    assert (made.profile, made.omega, made.c_g, made.c_q) == ("paper", 0.3, 0.4, 0.6)


def test_outcome_and_levels_are_passed_on_for_the_exact_brier_term() -> None:
    made = reinforce_config(RlConfig(), outcome=1.0, level_ids=(7, 8))
    assert (made.outcome, made.level_ids, made.profile) == (1.0, (7, 8), "causal")
