import math

import pytest
import torch

from forethought.algos.losses import (
    RatioStats,
    clipped_surrogate,
    cross_entropy,
    exact_brier,
    score_tokens,
    token_logprobs,
)
from forethought.foresight.levels import LEVELS

CLIP = (0.2, 0.28)


def random_tokens(n=40, seed=0):
    g = torch.Generator().manual_seed(seed)
    sampling = -torch.rand(n, generator=g, dtype=torch.float64) * 3
    logprobs = (sampling + 0.4 * torch.randn(n, generator=g, dtype=torch.float64)).requires_grad_()
    advantage = torch.randn(n, generator=g, dtype=torch.float64)
    weight = (torch.rand(n, generator=g, dtype=torch.float64) > 0.3).double() * 0.7
    return logprobs, sampling, advantage, weight


def test_the_surrogate_equals_a_loop_over_tokens_and_so_does_its_gradient():
    logprobs, sampling, advantage, weight = random_tokens()
    out = clipped_surrogate(logprobs, sampling, advantage, weight, clip=CLIP, denominator=12.0)
    out.loss.backward()
    expected, gradient, clipped = 0.0, [], 0
    for lp, s, a, w in zip(
        logprobs.tolist(), sampling.tolist(), advantage.tolist(), weight.tolist(), strict=True
    ):
        ratio = math.exp(lp - s)
        bounded = min(max(ratio, 0.8), 1.28)
        expected -= w * min(ratio * a, bounded * a) / 12.0
        blocked = (a > 0 and ratio > 1.28) or (a < 0 and ratio < 0.8)
        clipped += int(blocked and w != 0)
        gradient.append(0.0 if blocked else -w * a * ratio / 12.0)
    assert float(out.loss.detach()) == pytest.approx(expected, abs=1e-12)
    assert logprobs.grad.tolist() == pytest.approx(gradient, abs=1e-12)
    assert out.ratio.clipped == clipped > 0


def test_on_policy_the_surrogate_has_the_policy_gradient():
    _, sampling, advantage, weight = random_tokens()
    logprobs = sampling.clone().requires_grad_()
    clipped_surrogate(
        logprobs, sampling, advantage, weight, clip=CLIP, denominator=3.0
    ).loss.backward()
    torch.testing.assert_close(logprobs.grad, -weight * advantage / 3.0)


def test_cutting_a_batch_into_micro_batches_changes_no_loss_and_no_statistic():
    tokens = random_tokens()
    whole = clipped_surrogate(*tokens, clip=CLIP, denominator=9.0)
    parts = [
        clipped_surrogate(*(t[part] for t in tokens), clip=CLIP, denominator=9.0)
        for part in (slice(0, 13), slice(13, 40))
    ]
    torch.testing.assert_close(parts[0].loss + parts[1].loss, whole.loss)
    summed = parts[0].ratio + parts[1].ratio
    assert summed.means() == pytest.approx(whole.ratio.means())


def test_a_batch_without_weights_has_loss_zero_and_empty_statistics():
    logprobs, sampling, advantage, weight = random_tokens()
    out = clipped_surrogate(logprobs, sampling, advantage, 0 * weight, clip=CLIP, denominator=1.0)
    assert float(out.loss.detach()) == 0.0
    assert out.ratio == RatioStats()
    assert out.ratio.means()["ratio_mean"] == 1.0


def test_an_advantage_of_zero_gives_no_gradient():
    logprobs, sampling, advantage, weight = random_tokens()
    clipped_surrogate(
        logprobs, sampling, 0 * advantage, weight, clip=CLIP, denominator=1.0
    ).loss.backward()
    assert not logprobs.grad.any()


def test_logprobs_are_of_the_tempered_distribution_before_any_cut():
    logits = torch.randn(5, 11, generator=torch.Generator().manual_seed(1))
    targets = torch.tensor([0, 3, 10, 5, 5])
    expected = torch.log_softmax(logits / 0.7, -1)[torch.arange(5), targets]
    torch.testing.assert_close(token_logprobs(logits, targets, 0.7), expected)


def test_cross_entropy_is_the_weighted_mean_under_its_own_denominator():
    logprobs = torch.tensor([-1.0, -2.0, -3.0])
    weight = torch.tensor([1.0, 0.0, 0.5])
    assert float(cross_entropy(logprobs, weight, denominator=1.5)) == pytest.approx(2.5 / 1.5)


def level_logits(slots, seed=2):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(slots, 30, generator=g, dtype=torch.float64)


LEVEL_IDS = torch.arange(21) + 4


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_exact_brier_and_its_gradient_equal_the_enumeration_over_levels(temperature):
    logits = level_logits(3).requires_grad_()
    target = torch.tensor([0.0, 1.0, 1.0])
    loss = exact_brier(logits, LEVEL_IDS, target, denominator=3.0, temperature=temperature)
    loss.backward()
    again = logits.detach().clone().requires_grad_()
    expected = torch.zeros(())
    for slot in range(3):
        mass = sum(torch.exp(again[slot, i] / temperature) for i in LEVEL_IDS)
        for level, token in zip(LEVELS, LEVEL_IDS, strict=True):
            p = torch.exp(again[slot, token] / temperature) / mass
            expected = expected + p * (level - float(target[slot])) ** 2 / 3.0
    expected.backward()
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), abs=1e-6)
    torch.testing.assert_close(logits.grad, again.grad, rtol=1e-4, atol=1e-7)


def test_exact_brier_is_the_mean_of_sampled_brier_gradients():
    """E[grad log pi(v) (v - I)^2] over v ~ pi is the gradient of the exact term: no bias."""
    logits = level_logits(1).float().requires_grad_()
    exact_brier(logits, LEVEL_IDS, torch.tensor([1.0]), denominator=1.0).backward()
    again = logits.detach().clone().requires_grad_()
    log_pi = torch.log_softmax(again[0, LEVEL_IDS], -1)
    cost = (torch.tensor(LEVELS) - 1.0) ** 2
    (log_pi.exp().detach() * log_pi * cost).sum().backward()
    torch.testing.assert_close(logits.grad, again.grad, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("p", [0.0, 0.1, 0.33, 0.5, 0.65, 1.0])
def test_exact_brier_is_minimised_by_all_mass_on_the_level_nearest_to_the_success_rate(p):
    logits = torch.zeros(2, 21, requires_grad=True)  # row 0 fails, row 1 succeeds, shared policy
    optimiser = torch.optim.Adam([logits], lr=0.3)
    for _ in range(400):
        optimiser.zero_grad()
        shared = logits.mean(0, keepdim=True).expand(2, -1)
        costs = [
            exact_brier(shared[i : i + 1], torch.arange(21), torch.tensor([t]), denominator=1.0)
            for i, t in enumerate((0.0, 1.0))
        ]
        ((1 - p) * costs[0] + p * costs[1]).backward()
        optimiser.step()
    best = int(logits.mean(0).argmax())
    assert abs(LEVELS[best] - p) <= 0.025 + 1e-9


def test_tokens_that_are_no_level_get_no_brier_gradient():
    logits = level_logits(1).requires_grad_()
    exact_brier(logits, LEVEL_IDS, torch.tensor([1.0]), denominator=1.0).backward()
    outside = torch.ones(30, dtype=torch.bool)
    outside[LEVEL_IDS] = False
    assert not logits.grad[0, outside].any()


def test_the_kl_is_zero_at_the_reference_and_the_weighted_sum_of_the_definition():
    logits, other = level_logits(3), level_logits(3, seed=3)
    weight = torch.tensor([0.5, 0.0, 2.0], dtype=torch.float64)
    pi, ref = (logits / 0.7).softmax(-1), (other / 0.7).softmax(-1)
    expected = sum(
        float(w) * sum(float(p * (p / r).log()) for p, r in zip(a, b, strict=True))
        for w, a, b in zip(weight, pi, ref, strict=True)
    )
    targets = torch.tensor([0, 3, 29])

    def kl(reference):
        return score_tokens(logits, targets, temperature=0.7, reference=reference, weight=weight).kl

    assert float(kl(other)) == pytest.approx(expected, rel=1e-5)
    assert float(kl(logits)) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("anchored", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_scores_of_tokens_and_their_gradient_are_those_of_the_formulas(temperature, anchored):
    g = torch.Generator().manual_seed(5)
    logits = (3 * torch.randn(7, 13, generator=g)).requires_grad_()
    reference, targets = torch.randn(7, 13, generator=g), torch.randint(13, (7,), generator=g)
    weight, slope = torch.rand(7, generator=g), torch.randn(7, generator=g)
    more = {"reference": reference, "weight": weight} if anchored else {}
    found = score_tokens(logits, targets, temperature=temperature, **more)
    (gradient,) = torch.autograd.grad(found.logprobs @ slope + 1.7 * found.kl, logits)
    log_pi = (logits / temperature).log_softmax(-1)
    log_ref = (reference / temperature).log_softmax(-1)
    chosen = log_pi[torch.arange(7), targets]
    kl = weight @ (log_pi.exp() * (log_pi - log_ref)).sum(-1) if anchored else torch.zeros(())
    (expected,) = torch.autograd.grad(chosen @ slope + 1.7 * kl, logits)
    torch.testing.assert_close(found.logprobs, chosen)
    torch.testing.assert_close(found.kl, kl)
    torch.testing.assert_close(found.entropy, -(log_pi.exp() * log_pi).sum().detach())
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)
    assert not found.entropy.requires_grad


@pytest.mark.parametrize("anchored", [False, True])
def test_scores_of_tokens_hold_where_a_probability_rounds_to_zero(anchored):
    logits = torch.tensor([[0.0, 300.0, -400.0], [-1e4, -1e4 - 200.0, -1e4]])
    more = {"reference": logits.flip(1), "weight": torch.ones(2)} if anchored else {}
    found = score_tokens(logits, torch.tensor([2, 1]), **more)
    log_pi = logits.log_softmax(-1)
    torch.testing.assert_close(found.logprobs, log_pi[[0, 1], [2, 1]])
    torch.testing.assert_close(found.entropy, -(log_pi.exp() * log_pi).sum(), atol=1e-2, rtol=1e-5)
    if anchored:
        expected = (log_pi.exp() * (log_pi - logits.flip(1).log_softmax(-1))).sum()
        torch.testing.assert_close(found.kl, expected)
