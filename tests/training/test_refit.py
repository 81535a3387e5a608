"""The levels of a finished policy follow its outcomes, and nothing else of it changes."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
from training_builders import byte_policy, divergence, sequences, word_policy

from forethought.errors import InputError
from forethought.foresight.levels import LEVELS
from forethought.training.policy import Policy
from forethought.training.refit import _Logits, refit_levels
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


def alone(sources: list[TrainingSequence]) -> list[TrainingSequence]:
    """Each up to its number: nothing behind it, so every level is familiar, and nothing held."""
    return [replace(source, ids=source.ids[:7], kl_weight=()) for source in sources]


def expected(policy: Policy, sequence: TrainingSequence) -> float:
    slot = sequence.brier[0].position
    with torch.no_grad():
        logits = policy.model(input_ids=torch.tensor([sequence.ids[:slot]])).logits[0, -1]
    ids = torch.tensor(policy.level_ids())
    return float((logits[ids].softmax(-1) * torch.tensor(LEVELS)).sum())


def test_the_number_learns_what_outcomes_follow_and_only_levels_move() -> None:
    policy = word_policy()
    before = {name: p.detach().clone() for name, p in policy.model.named_parameters()}
    made = alone(rollouts(policy, 200))
    found = refit_levels(policy, made, ridge=1e-3)
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


def test_a_number_that_is_sure_of_one_level_is_moved_all_the_same() -> None:
    """The exact Brier score has no gradient there: the level stayed at 45 % while success rose."""
    policy = word_policy()
    made = alone(rollouts(policy, 200))
    policy.untie()
    sure = (policy.level_ids() or ())[9]
    with torch.no_grad():
        shown = policy.features(torch.tensor([s.ids[:6] for s in made]))[:, -1].mean(0)
        policy.model.get_output_embeddings().weight[sure] += 20.0 * shown / (shown @ shown)
    assert {round(expected(policy, s), 2) for s in made[:20]} == {0.45}
    refit_levels(policy, made, ridge=1e-3)
    good = policy.tokenizer.convert_tokens_to_ids("a")
    fresh = rollouts(policy, 60, seed=1)
    high = [expected(policy, s) for s in fresh if s.ids[5] == good]
    low = [expected(policy, s) for s in fresh if s.ids[5] != good]
    assert sum(high) / len(high) == pytest.approx(0.9, abs=0.1)
    assert sum(low) / len(low) == pytest.approx(0.1, abs=0.1)


def test_levels_behind_which_the_policy_does_not_go_on_are_not_stated() -> None:
    """Labels of few counts teach few levels; behind "35", never read, any word followed."""
    policy = word_policy()
    first = rollouts(policy, 1)[0].ids
    made = [
        replace(source, kl_weight=(), ids=(*first[:5], *source.ids[5:7], first[7]))
        for source in rollouts(policy, 200)
    ]
    ids = policy.level_ids() or ()
    policy.untie()
    known = (2, 9, 16)
    with torch.no_grad():  # what stands behind the number is likely behind three levels alone
        rows = [(*first[:5], shown, level) for shown in {s.ids[5] for s in made} for level in ids]
        told = torch.tensor([10.0 * (ids.index(row[-1]) in known) for row in rows])
        features = policy.features(torch.tensor(rows))[:, -1]
        way = torch.linalg.lstsq(features, told).solution
        policy.model.get_output_embeddings().weight[first[7]] = way
    refit_levels(policy, made, ridge=1e-3)
    with torch.no_grad():
        logits = policy.model(input_ids=torch.tensor([s.ids[:6] for s in made])).logits[:, -1]
    stated = logits[:, list(ids)].softmax(-1).mean(0)
    assert float(stated[list(known)].sum()) > 0.9
    assert all(0.1 < expected(policy, s) < 0.8 for s in made[:40])


def test_with_an_endless_ridge_every_number_is_the_base_rate() -> None:
    policy = word_policy()
    made = alone(rollouts(policy, 200))
    refit_levels(policy, made, ridge=1e9)
    rate = sum(s.brier[0].target for s in made) / len(made)
    stated = [expected(policy, s) for s in made]
    assert sum(stated) / len(stated) == pytest.approx(rate, abs=0.03)
    assert max(stated) - min(stated) < 0.1


@pytest.mark.parametrize("won", [0.0, 1.0])
def test_outcomes_that_are_all_alike_give_the_level_at_that_end(won: float) -> None:
    policy = word_policy()
    made = [
        replace(s, brier=(replace(s.brier[0], target=won),)) for s in alone(rollouts(policy, 60))
    ]
    refit_levels(policy, made, ridge=1e-2)
    assert expected(policy, made[0]) == pytest.approx(won, abs=0.1)


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
        refit_levels(policy, made, ridge=1e-3)
        with torch.no_grad():
            after = policy.model(input_ids=ids).logits[:, 6:].log_softmax(-1)
        drift.append(float((before.exp() * (before - after)).sum(-1).mean()))
    assert drift[0] < 0.5 * drift[1]


def test_a_level_stays_as_likely_as_it_was_where_one_is_due() -> None:
    policy = word_policy()
    made = alone(rollouts(policy, 100))
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
    found = refit_levels(policy, made, ridge=1e-3)
    assert found["brier_after"] < 0.5 * found["brier_before"]
    assert mass() == pytest.approx(before, abs=0.01)


def test_two_fits_give_the_same_bytes() -> None:
    hashes = set()
    for _ in range(2):
        policy = word_policy()
        refit_levels(policy, rollouts(policy, 30), ridge=1e-3)
        hashes.add(policy.sha256())
    assert len(hashes) == 1


def test_levels_of_several_tokens_and_rollouts_without_a_number_are_refused() -> None:
    with pytest.raises(InputError, match="several tokens"):
        refit_levels(byte_policy(), [], ridge=1.0)
    policy = word_policy()
    with pytest.raises(InputError, match="no number"):
        refit_levels(policy, sequences(policy, 3), ridge=1.0)


def test_the_divergences_are_those_of_the_whole_vocabulary() -> None:
    torch.manual_seed(0)
    features, weight = torch.randn(50, 16), torch.randn(60, 16)
    ids, change = torch.arange(5, 26), 0.3 * torch.randn(21, 16)
    logits = _Logits.of(features, weight, ids)
    moved = logits.levels + features @ change.T
    before, after = features @ weight.T, features @ weight.index_add(0, ids, change).T
    mean = torch.full((50,), 1 / 50)
    torch.testing.assert_close(logits.divergence(moved), divergence(after, before, mean))

    def any_level(every: torch.Tensor) -> torch.Tensor:
        others = every.index_fill(1, ids, float("-inf")).logsumexp(-1)
        return torch.stack([every[:, ids].logsumexp(-1), others], dim=1)

    torch.testing.assert_close(
        logits.divergence_from_any(moved), divergence(any_level(after), any_level(before), mean)
    )
