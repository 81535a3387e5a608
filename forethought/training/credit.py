"""How the configuration of stage 3 weighs tokens: one place for training and for looking at it."""

from __future__ import annotations

from collections.abc import Sequence

from forethought.algos.batching import ReinforceConfig
from forethought.algos.credit import CreditConfig
from forethought.algos.profiles import MIN_BRIER_SKILL
from forethought.schema import RlConfig


def credit_config(section: RlConfig, brier_skill: float | None = None) -> CreditConfig:
    """The credit settings of a run's profile.

    Args:
        section: the configuration of stage 3.
        brier_skill: of q over the last updates; `lam` counts only where it is high enough.
    """
    trusted = brier_skill is not None and brier_skill > MIN_BRIER_SKILL
    return CreditConfig(
        profile=section.profile,
        omega=section.omega,
        gamma=section.gamma,
        anchor_similarity=section.anchor_similarity,
        c_g=section.c_g,
        c_q=section.c_q,
        r_calib=section.r_calib,
        r_ground=section.r_ground,
        matcher=section.matcher,
        future=section.future,
        normaliser=section.normaliser,
        plan_baseline=section.plan_baseline,
        lam=section.lam if trusted else 1.0,
        brier_skill=brier_skill,
        ablations=section.ablations,
    )


def reinforce_config(
    section: RlConfig,
    *,
    outcome: float,
    level_ids: Sequence[int] | None,
    decision_ids: frozenset[int] = frozenset(),
) -> ReinforceConfig:
    """How credits of spans become advantages and weights of tokens.

    Args:
        section: the configuration of stage 3.
        outcome: I of the rollout, 0 or 1.
        level_ids: ids of the 21 levels, if each is one token; only `causal` uses them.
        decision_ids: words of a roadmap that choose a way.
    """
    if section.profile != "causal":  # the others weigh all tokens alike
        return ReinforceConfig(profile=section.profile, outcome=outcome)
    return ReinforceConfig(
        profile=section.profile,
        outcome=outcome,
        level_ids=level_ids,
        decision_ids=decision_ids,
        w_decision=section.w_decision,
        kl_decision=section.kl_decision,
        w_roadmap=section.w_roadmap,
        w_keyword=section.w_keyword,
        w_analysis=section.w_analysis,
        w_act=section.w_act,
        w_other=section.w_other,
    )
