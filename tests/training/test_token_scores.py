"""Scores of trained tokens: one projection of each token by each model, in chunks or at once."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from training_builders import (
    denominators,
    divergence,
    in_chunks,
    sequences,
    trainer,
    word_policy,
)

from forethought.algos.packing import PackConfig, PackedBatch, pack
from forethought.training.policy import Policy
from forethought.training.rows import document_mask
from forethought.training.scoring import Scorer, Scores, _project, trained_tokens
from forethought.training.trainer import Denominators
from forethought.types import BrierSlot, TrainingSequence

TEMPERATURE = 0.7
CHUNK = 7  # tokens


def one_batch(policy: Policy, num: int = 6) -> PackedBatch:
    config = PackConfig(max_row_tokens=64, max_batch_tokens=4096)
    (batch,) = pack(sequences(policy, num, 4), config)
    return batch


def scored(policy: Policy, reference: Policy, batch: PackedBatch) -> tuple[Scores, Tensor]:
    """Scores, and the gradient of a sum of all of them with a weight for each token."""
    scorer = Scorer(policy, reference, temperature=TEMPERATURE)
    chosen = trained_tokens(batch, policy.device)
    weight = torch.linspace(-1.0, 1.0, len(chosen.targets))
    scores = scorer.score(batch, chosen, weight.abs())
    policy.model.zero_grad()
    total = (weight * scores.logprobs + weight**2 * scores.tempered).sum() + scores.kl
    total.backward()
    parts = [p.grad.flatten() for p in policy.model.parameters() if p.grad is not None]
    return scores, torch.cat(parts)


@pytest.mark.parametrize("again", [False, True])
def test_scores_in_chunks_and_their_gradient_are_those_of_one_projection(
    monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    policy, reference = word_policy(seed=1), word_policy(seed=0)
    batch = one_batch(policy)
    whole, gradient = scored(policy, reference, batch)
    assert len(whole.logprobs) > 3 * CHUNK and float(whole.kl.detach()) > 0
    in_chunks(monkeypatch, CHUNK, again=again)
    parts, chunked = scored(policy, reference, batch)
    for name in ("logprobs", "tempered", "entropy", "kl"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name))
    torch.testing.assert_close(chunked, gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("softness", [1.0, 0.6])
@pytest.mark.parametrize("chunk", [CHUNK, 1 << 20])
def test_the_divergence_is_that_of_whole_forward_passes(
    monkeypatch: pytest.MonkeyPatch, chunk: int, softness: float
) -> None:
    policy, reference = word_policy(seed=1), word_policy(seed=0)
    in_chunks(monkeypatch, chunk)
    expected = 0.0
    batch = sequences(policy, 4, 4)
    for number, factor in ((1, -1.0), (2, 0.5)):
        weights = tuple(factor * w for w in batch[number].kl_weight)
        batch[number] = replace(batch[number], kl_weight=weights)
    for sequence in batch:
        ids = torch.tensor([sequence.ids])
        weight = torch.tensor([abs(w) / 10.0 for w in sequence.kl_weight[1:]])
        with torch.no_grad():
            a, b = (model.model(input_ids=ids).logits[0, :-1] for model in (policy, reference))
        if max(sequence.kl_weight) > 0:  # held ones see the reference as it is
            b = b / softness
        expected += float(divergence(a, b, weight, TEMPERATURE))
    maker = trainer(
        policy,
        temperature=TEMPERATURE,
        kl_coefficient=1.0,
        kl_temperature=softness,
        reference=reference,
    )
    totals, _ = maker._gradients(batch, Denominators(ce=1.0, pg=10.0), 0)
    assert totals.kl == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("chunk", [CHUNK, 1 << 20])
def test_each_model_projects_each_trained_token_once(
    monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    # The vocabulary is the most expensive layer of a small model.
    policy, reference = word_policy(seed=1), word_policy(seed=0)
    batch = one_batch(policy)
    chosen = trained_tokens(batch, policy.device)
    projected = {id(policy): 0, id(reference): 0}
    project = Policy.project

    def counted(self: Policy, features: Tensor) -> Tensor:
        projected[id(self)] += len(features)
        return project(self, features)

    monkeypatch.setattr(Policy, "project", counted)
    in_chunks(monkeypatch, chunk)
    n = len(chosen.targets)
    Scorer(policy, reference, temperature=TEMPERATURE).score(batch, chosen, torch.ones(n))
    assert n > CHUNK and list(projected.values()) == [n, n]


def test_a_micro_batch_of_brier_slots_alone_has_no_divergence() -> None:
    policy, reference = word_policy(seed=1), word_policy(seed=0)
    slots = TrainingSequence(ids=(5, 6, 7), brier=(BrierSlot(position=2, target=1.0),))
    other = sequences(policy, 1, 4, low=39)  # fills a micro-batch
    maker = trainer(policy, micro_batch_tokens=40, kl_coefficient=1.0, reference=reference)
    totals, _ = maker._gradients([*other, slots], denominators(other), 0)
    assert totals.kl > 0 and totals.brier > 0


def test_documents_of_a_row_do_not_see_each_other() -> None:
    document = torch.tensor([[0, 0, 1, 1, -1]])
    seen = document_mask(document)[0].int().tolist()
    assert seen == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 0, 1, 0, 0],
        [0, 0, 1, 1, 0],
        [0, 0, 0, 0, 1],
    ]


def test_in_bfloat16_logits_stay_wide_and_the_gradient_is_near() -> None:
    policy = word_policy(seed=1)
    batch = one_batch(policy)
    chosen = trained_tokens(batch, policy.device)
    found = []
    for narrow in (None, policy.plain_head().detach().bfloat16()):
        features = Scorer(policy).features(batch, chosen).detach().requires_grad_()
        policy.model.zero_grad()
        logits = _project(policy, features, narrow)
        logits.square().sum().backward()
        found.append((logits, features.grad, policy.plain_head().grad))
    assert torch.equal(found[0][0], found[1][0])
    for wide, near in zip(found[0][1:], found[1][1:], strict=True):
        assert 0 < float((near - wide).norm()) < 0.01 * float(wide.norm())


def test_a_head_with_a_hook_is_more_than_its_products() -> None:
    policy = word_policy()
    assert policy.plain_head() is policy.model.get_output_embeddings().weight
    policy.model.get_output_embeddings().register_forward_hook(lambda *args: 2.0 * args[2])
    assert policy.plain_head() is None
