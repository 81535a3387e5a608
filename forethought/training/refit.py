"""The number, fitted once more to what a finished policy really comes to.

While a policy learns to win more often, its number lags behind, and the exact Brier score cannot
move it far: once nearly all probability is on one level, the gradient of every other level is next
to nothing. So when the policy is done, its level embeddings are fitted to fresh rollouts of it,
everything else fixed, in two steps without such plateaus: a logistic regression of the outcome on
the features of the slot, and levels whose mean is that estimate. A KL term keeps every other
token's probability, so that no level is written where another token is due.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from forethought.algos.losses import exact_brier, token_logprobs
from forethought.algos.packing import PackConfig, pack
from forethought.errors import InputError
from forethought.foresight.levels import LEVELS
from forethought.training.policy import Policy
from forethought.training.scoring import Scorer, trained_tokens
from forethought.types import TrainingSequence

_BATCH_TOKENS = 2048  # of a forward pass
_STEPS, _RATE = 100, 0.05  # of Adam on the embeddings
_FIT_STEPS = 200  # at most, of L-BFGS on the regression
_HOLD, _NEAR = 300.0, 1e-3
"""Weights of the KL terms and of the squared change. At 50 and 0 a level stood where another token
is due in every hundredth turn; so in one of 300, and the estimate is as good."""

_CONTEXTS = 32  # in which every level is tried
_BEHIND = 3  # tokens: "%", the closing tag, the next tag
_FAMILIAR = 0.9
"""A level counts as familiar if what stood behind the number is at least so likely behind it,
compared with the best level. With .5 and one token format fell by .04 on two laws of five."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What the embeddings are fitted on."""

    slots: Tensor  # [s, H] features that predict a level
    outcomes: Tensor  # [s]
    others: Tensor  # [n, H] features that predict any other token


def refit_levels(
    policy: Policy, sequences: Sequence[TrainingSequence], *, ridge: float
) -> dict[str, float]:
    """Fits the output embeddings of the 21 levels; changes the policy in place.

    First p(h), the success estimate at a slot with features h: the logistic regression that
    minimises `mean log loss + ridge ||w||^2` over weights w of the standardised features. Then the
    change D of the level embeddings that minimises `mean CE + 300 (KL_1 + KL_2) + 0.001 ||D||^2`:
    cross-entropy of the levels towards the two familiar ones next to p(h), weighted so that their
    mean is p(h); mean KL(after || before) over the vocabulary at the tokens with a KL weight, each
    number before them replaced by a familiar one, and at the slots over "any level" and "no level".
    A level is familiar if the policy goes on behind it as behind the others: labels that count few
    continuations teach few levels, and behind one that was never read any word may follow. Both
    losses are convex in what they fit but for the KL terms.

    Args:
        policy: its levels must be one token each; its output embeddings become its own.
        sequences: of fresh rollouts, with Brier slots; some of them with KL weights.
        ridge: weight of the squared coefficients of the regression.

    Returns:
        slots, and the mean Brier score before and after on these rollouts.

    Raises:
        InputError: no slot, or levels of several tokens.
    """
    ids = policy.level_ids()
    if ids is None or not any(sequence.brier for sequence in sequences):
        raise InputError(
            "refit of the levels",
            got="levels of several tokens" if ids is None else "rollouts that state no number",
            expected="levels of one token, and rollouts with readable numbers",
            next_step="set rl.refit_rollouts to 0",
        )
    policy.untie()
    familiar = _familiar(policy, sequences, ids)
    seen = _look(policy, [*sequences, *_with_levels(sequences, [ids[n] for n in familiar])])
    level_ids = torch.tensor(ids, device=policy.device)
    weight = policy.model.get_output_embeddings().weight.detach()
    target = _next_to(_estimates(seen.slots, seen.outcomes, ridge), familiar)
    change = torch.zeros(
        (len(ids), weight.shape[1]), device=weight.device, dtype=torch.float32, requires_grad=True
    )
    slots, others = (_Logits.of(x, weight, level_ids) for x in (seen.slots, seen.others))

    def objective() -> Tensor:
        moved = slots.levels + seen.slots @ change.T
        # The first loss compares levels with each other: alone it may make all of them unlikely.
        held = others.divergence(others.levels + seen.others @ change.T)
        held = held + slots.divergence_from_any(moved)
        near = _HOLD * held + _NEAR * (change**2).sum()
        return F.cross_entropy(moved, target) + near

    optimiser = torch.optim.Adam([change], lr=_RATE)
    for step in range(_STEPS):
        optimiser.param_groups[0]["lr"] = _RATE * (1.0 - step / _STEPS)
        optimiser.zero_grad()
        objective().backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    with torch.no_grad():
        change = change.detach()
        policy.model.get_output_embeddings().weight.index_add_(0, level_ids, change)
        after = slots.levels + seen.slots @ change.T
    return {
        "slots": float(len(seen.outcomes)),
        "brier_before": _brier(slots.levels, seen.outcomes),
        "brier_after": _brier(after, seen.outcomes),
    }


def _brier(levels: Tensor, outcomes: Tensor) -> float:
    """Mean exact Brier score of level logits [s, 21] against outcomes [s]."""
    every = torch.arange(levels.shape[1], device=levels.device)
    return float(exact_brier(levels, every, outcomes, denominator=len(outcomes)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Logits:
    """Logits of n positions where only those of the levels can move."""

    levels: Tensor  # [n, 21] before the fit
    rest: Tensor  # [n] log-sum-exp of all other tokens

    @classmethod
    def of(cls, features: Tensor, weight: Tensor, level_ids: Tensor) -> _Logits:
        logits = features @ weight.T
        rest = logits.index_fill(1, level_ids, float("-inf")).logsumexp(-1)
        return cls(levels=logits[:, level_ids], rest=rest)

    def divergence(self, moved: Tensor) -> Tensor:
        """Mean KL(after || before) over the vocabulary, with `moved` level logits [n, 21].

        The log-probability of any other token falls by as much as the normaliser grows.
        """
        total = torch.logaddexp(self.rest, moved.logsumexp(-1))
        grown = total - torch.logaddexp(self.rest, self.levels.logsumexp(-1))
        share = (moved - total.unsqueeze(1)).exp()
        return _mean((share * (moved - self.levels)).sum(1) - grown)

    def divergence_from_any(self, moved: Tensor) -> Tensor:
        """Mean KL(after || before) over "any level" and "no level"."""
        before, after = self.levels.logsumexp(-1) - self.rest, moved.logsumexp(-1) - self.rest
        share = after.sigmoid()
        return _mean(
            share * (F.logsigmoid(after) - F.logsigmoid(before))
            + (1.0 - share) * (F.logsigmoid(-after) - F.logsigmoid(-before))
        )


def _mean(values: Tensor) -> Tensor:
    return values.sum() / max(len(values), 1)


def _estimates(features: Tensor, outcomes: Tensor, ridge: float) -> Tensor:
    """[s] success estimates: a logistic regression on standardised features [s, H], fitted here."""
    scale = features.std(0, correction=0).clamp_min(1e-6)
    inputs = (features - features.mean(0)) / scale
    slope = inputs.new_zeros(inputs.shape[1], requires_grad=True)
    offset = inputs.new_zeros((), requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [slope, offset], max_iter=_FIT_STEPS, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        wrong = F.binary_cross_entropy_with_logits(inputs @ slope + offset, outcomes)
        found = wrong + ridge * (slope**2).sum()
        found.backward()  # type: ignore[no-untyped-call]
        return found

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    return (inputs @ slope + offset).detach().sigmoid()


def _next_to(estimates: Tensor, familiar: Sequence[int]) -> Tensor:
    """[s, 21] weights of the familiar levels next to each estimate, whose mean is the estimate.

    An estimate beyond the lowest or highest of them gets that one alone.
    """
    values = estimates.new_tensor([LEVELS[n] for n in familiar])
    inside = estimates.clamp(values[0], values[-1])
    above = torch.searchsorted(values, inside).clamp(1, len(familiar) - 1)
    low, high = values[above - 1], values[above]
    share = (inside - low) / (high - low)
    rows = torch.arange(len(estimates), device=estimates.device)
    places = torch.tensor(familiar, device=estimates.device)
    weights = estimates.new_zeros((len(estimates), len(LEVELS)))
    weights[rows, places[above - 1]] = 1.0 - share
    weights[rows, places[above]] = share
    return weights


@torch.no_grad()
def _familiar(
    policy: Policy, sequences: Sequence[TrainingSequence], ids: Sequence[int]
) -> list[int]:
    """Levels behind which the tokens that stood behind the number are as likely as behind the best.

    Returns:
        At least two numbers of levels, in order.
    """
    found = torch.zeros(len(ids), device=policy.device)
    contexts = [(s, slot.position) for s in sequences for slot in s.brier[:1]]
    for sequence, position in contexts[:_CONTEXTS]:
        begin = max(start for start in sequence.starts if start <= position)
        behind = sequence.ids[position + 1 : position + 1 + _BEHIND]
        before = sequence.ids[begin:position]
        rows = torch.tensor([[*before, level, *behind] for level in ids], device=policy.device)
        logits = policy.model(input_ids=rows).logits[:, len(before) : -1]
        found += token_logprobs(logits, rows[:, len(before) + 1 :]).sum(1).exp()
    least = min(_FAMILIAR * found.max(), found.topk(2).values[-1])
    return (found >= least).nonzero().flatten().tolist()


def _with_levels(
    sequences: Sequence[TrainingSequence], levels: Sequence[int]
) -> list[TrainingSequence]:
    """The sequences with a KL weight, without slots, their numbers replaced by levels in turn."""
    made: list[TrainingSequence] = []
    turn = 0
    for sequence in sequences:
        if not any(sequence.kl_weight):
            continue
        ids = list(sequence.ids)
        for slot in sequence.brier:
            ids[slot.position] = levels[turn % len(levels)]
            turn += 1
        made.append(replace(sequence, ids=tuple(ids), brier=()))
    return made


@torch.no_grad()
def _look(policy: Policy, sequences: Sequence[TrainingSequence]) -> _Seen:
    """One forward pass over all sequences."""
    scorer = Scorer(policy)
    longest = max(len(sequence.ids) for sequence in sequences)
    bounds = PackConfig(
        max_row_tokens=longest,
        max_batch_tokens=max(longest, _BATCH_TOKENS),
        pad_id=policy.tokenizer.pad_token_id or 0,
    )
    slots, outcomes, others = list[Tensor](), list[Tensor](), list[Tensor]()
    for batch in pack([s for s in sequences if s.brier or any(s.kl_weight)], bounds):
        chosen = trained_tokens(batch, policy.device)
        features = scorer.features(batch, chosen).float()
        count = len(chosen.targets)
        others.append(features[:count])
        slots.append(features[count:])
        outcomes.append(chosen.outcomes)
    return _Seen(slots=torch.cat(slots), outcomes=torch.cat(outcomes), others=torch.cat(others))
