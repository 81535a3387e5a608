"""Loss terms on flat tensors: one entry a token (n) or a Brier slot (s), whatever row it came from.

Each term is a weighted sum divided by a constant that the caller fixes for the whole optimiser
step, so neither micro-batches nor the lengths that a policy chose change the weight of a token.
Log-probabilities are `log_softmax(logits / temperature)` at the sampling temperature, before top-p
and top-k, as at sampling. The only module of `algos` that imports torch.

Shapes: n tokens with a weight, s Brier slots, V vocabulary, 21 levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from forethought.foresight.levels import LEVELS


@dataclass(frozen=True, slots=True, kw_only=True)
class RatioStats:
    """Sums over tokens of how far the policy moved since sampling; adds up over micro-batches."""

    count: int = 0  # tokens with a policy-gradient weight
    ratio_sum: float = 0.0
    ratio_max: float = 0.0
    log_ratio_abs_sum: float = 0.0  # |log pi - log pi_sampling|, in nats
    clipped: int = 0  # tokens whose gradient the clip removed
    kl_sum: float = 0.0  # k3 estimate of KL(sampling || policy) over sampled tokens, in nats

    def __add__(self, other: RatioStats) -> RatioStats:
        """Statistics of both sets of tokens."""
        return RatioStats(
            count=self.count + other.count,
            ratio_sum=self.ratio_sum + other.ratio_sum,
            ratio_max=max(self.ratio_max, other.ratio_max),
            log_ratio_abs_sum=self.log_ratio_abs_sum + other.log_ratio_abs_sum,
            clipped=self.clipped + other.clipped,
            kl_sum=self.kl_sum + other.kl_sum,
        )

    def means(self) -> dict[str, float]:
        """Values for a metrics log; 0 without tokens (`ratio_mean` 1)."""
        n = max(self.count, 1)
        return {
            "ratio_mean": self.ratio_sum / n if self.count else 1.0,
            "ratio_max": self.ratio_max,
            "log_ratio_abs": self.log_ratio_abs_sum / n,
            "clip_share": self.clipped / n,
            "sampling_kl": self.kl_sum / n,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SurrogateLoss:
    """The clipped surrogate of one set of tokens."""

    loss: Tensor  # scalar, to be minimised
    ratio: RatioStats


@dataclass(frozen=True, slots=True, kw_only=True)
class LossTerms:
    """The terms of one micro-batch, each with its own denominator and coefficient applied."""

    policy: Tensor  # scalar
    cross_entropy: Tensor  # scalar
    brier: Tensor  # scalar
    kl: Tensor  # scalar
    ratio: RatioStats
    readout: Tensor | None = None  # scalar, not in the total: Brier for the output embeddings alone

    @property
    def total(self) -> Tensor:
        """The scalar to differentiate."""
        return self.policy + self.cross_entropy + self.brier + self.kl


def token_logprobs(logits: Tensor, targets: Tensor, temperature: float = 1.0) -> Tensor:
    """[*] log-probability of `targets` [*] under `softmax(logits / temperature)`, logits [*, V]."""
    every = _scaled(logits, temperature).log_softmax(-1)
    return every.gather(-1, targets.unsqueeze(-1)).squeeze(-1)


def _scaled(logits: Tensor, temperature: float) -> Tensor:
    # The vocabulary is the widest axis there is: a division by 1 is one more pass over all of it.
    return logits.float() if temperature == 1.0 else logits.float() / temperature


class TokenScores(NamedTuple):
    """What the logits of n tokens say."""

    logprobs: Tensor  # [n] of the targets
    entropy: Tensor  # scalar: sum in nats; no gradient
    kl: Tensor  # scalar: weighted sum of KL(policy || reference), in nats; 0 without a reference


def score_tokens(
    logits: Tensor,
    targets: Tensor,
    *,
    temperature: float = 1.0,
    reference: Tensor | None = None,
    weight: Tensor | None = None,
) -> TokenScores:
    """`token_logprobs`, entropy and `sum_u w_u KL(pi_u || pi_ref,u)` from one pass.

    The divergence is summed over the whole vocabulary instead of estimated from the sampled token
    (k3 in GRPO, arXiv 2402.03300): that leaves no sampling noise, and reaches the tails that are
    hardly ever sampled, where a format breaks. Their common gradient is
    `(g - (sum g + v KL) p + v p log(p / p_ref)) / T` with g at the targets and v = g_KL w, so it
    takes two or three passes over the vocabulary where autograd would take a dozen.

    Args:
        logits: [n, V] of the policy.
        targets: [n] token ids.
        temperature: of all distributions, as at sampling.
        reference: [n, V] logits; no gradient.
        weight: [n] of each token in the divergence.
    """
    found = _TokenScores.apply(  # type: ignore[no-untyped-call]
        logits, targets, temperature, reference, weight
    )
    return TokenScores(*found)


class _TokenScores(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        logits: Tensor,
        targets: Tensor,
        temperature: float,
        reference: Tensor | None,
        weight: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        targets = targets.unsqueeze(1)
        scaled = _scaled(logits, temperature)
        p = scaled.softmax(1)
        # The likeliest token's probability is 1 / sum exp(x - max): log-probabilities of the others
        # need no second pass of exponentials, and do not vanish where theirs round to 0.
        total = scaled.amax(1, keepdim=True) - p.amax(1, keepdim=True).log()  # log sum exp
        chosen = (scaled.gather(1, targets) - total).squeeze(1)
        entropy = total.sum() - torch.dot(p.flatten(), scaled.flatten())
        kl, more = entropy.new_zeros(()), tuple[Tensor, ...]()
        if reference is not None and weight is not None:
            theirs = _scaled(reference, temperature).log_softmax(1)
            pull = (scaled - theirs).sub_(total).mul_(p)
            divergence = pull.sum(1)
            weight = weight.float()
            kl, more = torch.dot(weight, divergence), (pull, divergence, weight)
        ctx.save_for_backward(targets, p, *more)
        ctx.temperature, ctx.kind = temperature, logits.dtype
        ctx.mark_non_differentiable(entropy)
        return chosen, entropy, kl

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, chosen: Tensor, entropy: Tensor, kl: Tensor) -> tuple[Any, ...]:
        targets, p, *more = ctx.saved_tensors
        if more:
            pull, divergence, weight = more
            held = kl * weight
            gradient = p * -(chosen + held * divergence).unsqueeze(1)
            gradient.addcmul_(pull, held.unsqueeze(1))
        else:
            gradient = p * -chosen.unsqueeze(1)
        gradient.scatter_add_(1, targets, chosen.unsqueeze(1))
        if ctx.temperature != 1.0:
            gradient /= ctx.temperature
        return gradient.to(ctx.kind), None, None, None, None


def clipped_surrogate(
    logprobs: Tensor,
    sampling_logprobs: Tensor,
    advantage: Tensor,
    weight: Tensor,
    *,
    clip: tuple[float, float],
    denominator: float,
) -> SurrogateLoss:
    """`-(1/D) sum_u w_u min(ratio_u A_u, clip(ratio_u, 1 - low, 1 + high) A_u)`.

    Token-level ratios as in PPO (arXiv 1707.06347) and GRPO (arXiv 2402.03300), the wider upper
    bound of DAPO (arXiv 2503.14476), and a constant D (`P N L_ref`: valid rollouts of the batch
    times a reference length, silent groups included) instead of a count of sampled tokens, which
    the policy could choose (Dr. GRPO, arXiv 2503.20783).

    Args:
        logprobs: [n] under the policy that trains.
        sampling_logprobs: [n] under the policy that sampled; no gradient.
        advantage: [n].
        weight: [n] weight of each token; 0 = not in the loss.
        clip: (low, high), such as (0.2, 0.28).
        denominator: D, fixed for the optimiser step.
    """
    log_ratio = logprobs - sampling_logprobs
    ratio = log_ratio.exp()
    bounded = ratio.clamp(1.0 - clip[0], 1.0 + clip[1])
    gain = torch.minimum(ratio * advantage, bounded * advantage)
    return SurrogateLoss(
        loss=-(weight * gain).sum() / denominator,
        ratio=_ratio_stats(log_ratio.detach(), advantage, weight, clip),
    )


def _ratio_stats(
    log_ratio: Tensor, advantage: Tensor, weight: Tensor, clip: tuple[float, float]
) -> RatioStats:
    used = weight != 0
    if not bool(used.any()):
        return RatioStats()
    log_ratio, advantage = log_ratio[used], advantage[used]
    ratio = log_ratio.exp()
    above = (ratio > 1.0 + clip[1]) & (advantage > 0)
    below = (ratio < 1.0 - clip[0]) & (advantage < 0)
    return RatioStats(
        count=int(used.sum()),
        ratio_sum=float(ratio.sum()),
        ratio_max=float(ratio.max()),
        log_ratio_abs_sum=float(log_ratio.abs().sum()),
        clipped=int((above | below).sum()),
        kl_sum=float((ratio - 1.0 - log_ratio).sum()),
    )


def cross_entropy(logprobs: Tensor, weight: Tensor, *, denominator: float) -> Tensor:
    """`-(1/D) sum_u w_u log pi(u)`; D is normally the sum of weights of the whole step.

    Args:
        logprobs: [n] at temperature 1.
        weight: [n].
        denominator: D.
    """
    return -(weight * logprobs).sum() / denominator


def exact_brier(
    logits: Tensor,
    level_ids: Tensor,
    target: Tensor,
    *,
    denominator: float,
    temperature: float = 1.0,
) -> Tensor:
    """`(1/D) sum_slots sum_v pi(v | context) (v - I)^2`, pi renormalised over the 21 levels.

    The expectation of the Brier score over the number that the policy could write, so it has no
    sampling noise; linear in pi, hence minimised by all mass on the level nearest to the success
    rate of the context. The idea of ConfTuner (arXiv 2508.18847) on our levels.

    Args:
        logits: [s, V] that predict the level token.
        level_ids: [21] token ids of 0 %, 5 %, .., 100 %.
        target: [s] outcome I in [0, 1].
        denominator: D, normally the parsed blocks of the whole step.
        temperature: the sampling temperature.
    """
    assert level_ids.shape == (len(LEVELS),), f"one id a level, got {tuple(level_ids.shape)}"
    probabilities = (logits[:, level_ids].float() / temperature).softmax(-1)
    levels = torch.tensor(LEVELS, dtype=probabilities.dtype, device=logits.device)
    score = (levels.unsqueeze(0) - target.unsqueeze(1).to(probabilities.dtype)) ** 2
    return (probabilities * score).sum() / denominator
