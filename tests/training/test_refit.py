"""The levels of a finished policy follow its outcomes, and nothing else of it changes."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
from training_builders import byte_policy, sequences, word_policy

from forethought.errors import InputError
from forethought.foresight.levels import LEVELS
from forethought.training.policy import Policy
from forethought.training.refit import refit_levels
from forethought.types import BrierSlot, TrainingSequence


def rollouts(policy: Policy, num: int, seed: int = 0) -> list[TrainingSequence]:
    """Won with .9 where the token before the number is the first of two, else with .1."""
    rng = random.Random(seed)
    level = (policy.level_ids() or (0,))[3]
    good, bad = policy.tokenizer.convert_tokens_to_ids(["a", "b"])
    made = []
    for source in sequences(policy, num, seed, low=8, high=16):
        shows = rng.random() < 0.5
        won = float(rng.random() < (0.9 if shows else 0.1))
        ids = (*source.ids[:5], good if shows else bad, level, *source.ids[7:])
        slot = BrierSlot(position=6, target=won)
        held = tuple(float(n not in (0, 6)) for n in range(len(ids)))
        made.append(TrainingSequence(ids=ids, kl_weight=held, brier=(slot,)))
    return made


def expected(policy: Policy, sequence: TrainingSequence) -> float:
    slot = sequence.brier[0].position
    with torch.no_grad():
        logits = policy.model(input_ids=torch.tensor([sequence.ids[:slot]])).logits[0, -1]
    ids = torch.tensor(policy.level_ids())
    return float((logits[ids].softmax(-1) * torch.tensor(LEVELS)).sum())


def test_the_number_learns_what_outcomes_follow_and_only_levels_move() -> None:
    policy = word_policy()
    before = {name: p.detach().clone() for name, p in policy.model.named_parameters()}
    made = [replace(source, kl_weight=()) for source in rollouts(policy, 200)]
    found = refit_levels(policy, made, ridge=1e-5)
    assert found["slots"] == 200
    assert found["brier_after"] < 0.75 * found["brier_before"]
    fresh = rollouts(policy, 60, seed=1)
    good = policy.tokenizer.convert_tokens_to_ids("a")
    high = [expected(policy, s) for s in fresh if s.ids[5] == good]
    low = [expected(policy, s) for s in fresh if s.ids[5] != good]
    assert sum(high) / len(high) > 0.7
    assert sum(low) / len(low) < 0.3
    after = dict(policy.model.named_parameters())
    for name, old in before.items():
        if name in after and "lm_head" not in name:
            torch.testing.assert_close(after[name].detach(), old, rtol=0, atol=0)
    head = policy.model.get_output_embeddings().weight.detach()
    start = before.get("lm_head.weight", before["model.embed_tokens.weight"])
    moved = (head != start).any(dim=1).nonzero().flatten().tolist()
    assert set(moved) == set(policy.level_ids() or ())


def test_an_endless_ridge_changes_nothing() -> None:
    policy = word_policy()
    old = policy.model.get_output_embeddings().weight.detach().clone()
    found = refit_levels(policy, rollouts(policy, 20), ridge=1e9)
    assert found["brier_after"] == pytest.approx(found["brier_before"], abs=1e-3)
    now = policy.model.get_output_embeddings().weight.detach()
    torch.testing.assert_close(now, old, rtol=0, atol=0.02)  # a last step of Adam is not 0


def test_other_tokens_keep_their_probabilities_where_the_kl_term_sees_them() -> None:
    drift = []
    for held in (True, False):
        policy = word_policy()
        made = rollouts(policy, 60)
        if not held:
            made = [replace(s, kl_weight=()) for s in made]
        ids = torch.tensor([s.ids[:8] for s in rollouts(policy, 40, seed=2)])
        with torch.no_grad():
            before = policy.model(input_ids=ids).logits[:, 6:].log_softmax(-1)
        refit_levels(policy, made, ridge=1e-6)
        with torch.no_grad():
            after = policy.model(input_ids=ids).logits[:, 6:].log_softmax(-1)
        drift.append(float((before.exp() * (before - after)).sum(-1).mean()))
    assert drift[0] < 0.5 * drift[1]


def test_a_level_stays_as_likely_as_it_was_where_one_is_due() -> None:
    policy = word_policy()
    made = [replace(source, kl_weight=()) for source in rollouts(policy, 100)]
    ids = torch.tensor(policy.level_ids())
    contexts = torch.tensor([s.ids[:6] for s in made])
    policy.untie()
    with torch.no_grad():  # levels become likely there
        shown = policy.features(contexts)[:, -1].mean(0)
        policy.model.get_output_embeddings().weight[ids] += 2.0 * shown / (shown @ shown)

    def mass() -> float:
        with torch.no_grad():
            logits = policy.model(input_ids=contexts).logits[:, -1]
        return float(logits.softmax(-1)[:, ids].sum(-1).mean())

    before = mass()
    assert before == pytest.approx(0.87, abs=0.02)
    found = refit_levels(policy, made, ridge=1e-5)
    assert found["brier_after"] < 0.5 * found["brier_before"]
    assert mass() == pytest.approx(before, abs=0.01)


def test_two_fits_give_the_same_bytes() -> None:
    hashes = set()
    for _ in range(2):
        policy = word_policy()
        refit_levels(policy, rollouts(policy, 30), ridge=1e-5)
        hashes.add(policy.sha256())
    assert len(hashes) == 1


def test_levels_of_several_tokens_and_rollouts_without_a_number_are_refused() -> None:
    with pytest.raises(InputError, match="several tokens"):
        refit_levels(byte_policy(), [], ridge=1.0)
    policy = word_policy()
    with pytest.raises(InputError, match="no number"):
        refit_levels(policy, sequences(policy, 3), ridge=1.0)
