"""Credit: judged episodes in, advantages of every turn's spans out.

    credits = credit_episodes(episodes, CreditConfig(profile="causal"))

A group is the episodes with one task_id. Rollouts that the machine ended (`error`) are in no group
and get None everywhere; every other way to end, budget and length included, is the policy's own
and trains. Nothing here samples, reads a file or imports more than the standard library. Which
token gets which number is `forethought.algos.batching`.
"""

from __future__ import annotations

from collections.abc import Sequence

from forethought.algos.futures import DocumentFrequency, Futures
from forethought.algos.profiles import (
    ABLATIONS,
    NO_CREDIT,
    CreditConfig,
    Credits,
    Group,
    causal,
    gigpo,
    grpo,
    paper,
)
from forethought.algos.values import ValueFit, groups_of
from forethought.types import Episode, TurnCredit

__all__ = [
    "ABLATIONS",
    "CreditConfig",
    "DocumentFrequency",
    "credit_episodes",
]


def credit_episodes(
    episodes: Sequence[Episode],
    config: CreditConfig,
    value_fit: ValueFit | None = None,
    document_frequency: DocumentFrequency | None = None,
) -> list[list[TurnCredit]]:
    """Advantages of every turn, in the order of `episodes`.

    Args:
        episodes: all groups of an update or of a file; the contrast of the grounding bonus reads
            the episodes of the other tasks.
        config: the profile and its readings.
        value_fit: `causal` only: V fitted on the previous update; None = the others' mean reward.
        document_frequency: ablation `idf` only; None = all weights 1.

    Returns:
        `[episode][turn]`. None in a credit = the turn has no such span.
    """
    result = [[NO_CREDIT] * len(episode.turns) for episode in episodes]
    futures: Futures | None = None
    if config.reads_futures:
        weights = document_frequency if "idf" in config.ablations else None
        futures = Futures(episodes, weights)
    for indices in groups_of(episodes):
        group = Group(
            indices=tuple(indices),
            episodes=tuple(episodes[i] for i in indices),
            void_null=config.void_turns == "null",
        )
        for index, row in zip(indices, _profile(group, config, futures, value_fit), strict=True):
            result[index] = row
    return result


def _profile(
    group: Group, config: CreditConfig, futures: Futures | None, fit: ValueFit | None
) -> Credits:
    if config.profile == "grpo":
        return grpo(group, config)
    if config.profile == "gigpo":
        return gigpo(group, config)
    if config.profile == "causal":
        return causal(group, config, futures, fit)
    assert futures is not None
    return paper(group, config, futures)
