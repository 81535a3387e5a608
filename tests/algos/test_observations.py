"""Cross-entropy on observations has a denominator of its own."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from forethought.algos.losses import cross_entropy
from forethought.algos.observations import with_observations
from forethought.types import TrainingSequence

WEIGHTS = st.lists(st.sampled_from([0.0, 1.0, 2.0]), min_size=2, max_size=9)


def _sequence(ce: list[float], obs: list[float]) -> TrainingSequence:
    return TrainingSequence(
        ids=tuple(range(len(ce))), ce_weight=(0.0, *ce[1:]), obs_weight=(0.0, *obs[1:])
    )


@given(st.lists(st.tuples(WEIGHTS, WEIGHTS), min_size=1, max_size=4), st.floats(0.01, 3.0))
def test_the_loss_is_the_sum_of_two_means(
    pairs: list[tuple[list[float], list[float]]], lam: float
) -> None:
    batch = [_sequence(ce[: len(obs)], obs[: len(ce)]) for ce, obs in pairs]
    response, replies = (
        torch.tensor([w for s in batch for w in getattr(s, name)], dtype=torch.float64)
        for name in ("ce_weight", "obs_weight")
    )
    nll = torch.rand(len(response), dtype=torch.float64)
    folded, over = with_observations(batch, lam)
    if not response.sum() and not replies.sum():
        assert over == 0 and folded == batch
        return
    weights = torch.tensor([w for s in folded for w in s.ce_weight], dtype=torch.float64)
    expected = 0.0
    if response.sum():
        expected += float((response * nll).sum() / response.sum())
    if replies.sum():
        expected += (lam if response.sum() else 1.0) * float((replies * nll).sum() / replies.sum())
    assert float(cross_entropy(-nll, weights, denominator=over)) == pytest.approx(expected)


def test_longer_replies_have_no_larger_share() -> None:
    """One common denominator, the mistake, would give them a share that grows."""
    shares = []
    for length in (1, 100):
        sequence = _sequence([0.0, 1.0, 1.0] + [0.0] * length, [0.0, 0.0, 0.0] + [1.0] * length)
        ((folded,), over) = with_observations([sequence], 0.3)
        shares.append(sum(folded.ce_weight[3:]) / over)
    assert shares == pytest.approx([0.3, 0.3])


def test_without_a_weight_or_without_replies_nothing_changes() -> None:
    told = _sequence([0.0, 1.0, 0.0], [0.0, 0.0, 1.0])
    assert with_observations([told], 0.0) == ([told], 1.0)
    bare = TrainingSequence(ids=(1, 2), ce_weight=(0.0, 1.0))
    assert with_observations([bare, bare], 0.5) == ([bare, bare], 2.0)
