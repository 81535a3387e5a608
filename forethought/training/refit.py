"""The number, fitted once more to what a finished policy really comes to.

While a policy learns to win more often, its number learns from the rollouts of each update and lags
behind: the last updates move the policy and hardly the number. So when the policy is done, its
level embeddings are fitted to fresh rollouts of it, everything else fixed. The exact Brier score is
the objective, as during training; a ridge keeps the embeddings near where they were, and a KL term
keeps every other token's probability, so that no level is written where another token is due.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from forethought.algos.losses import exact_brier, exact_kl
from forethought.algos.packing import PackConfig, pack
from forethought.errors import InputError
from forethought.training.policy import Policy
from forethought.training.scoring import Scorer, trained_tokens
from forethought.types import TrainingSequence

_BATCH_TOKENS = 2048  # of a forward pass
_STEPS, _RATE = 100, 0.02  # of Adam on the whole objective; it has plateaus where L-BFGS stops
_HOLD = 50.0
"""Weight of the KL terms. At 1 a level stood where another token is due in every hundredth turn; at
50 the Brier score is as good."""


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

    Minimises `mean Brier + ridge ||D||^2 + 50 (KL_1 + KL_2)` over the change D of the level
    embeddings: the Brier score at the slots; mean KL(after || before) over the vocabulary at the
    tokens with a KL weight, and at the slots over "any level" and "no level".

    Args:
        policy: its levels must be one token each; its output embeddings become its own.
        sequences: of fresh rollouts, with Brier slots; some of them with KL weights.
        ridge: weight of the squared change.

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
    seen = _look(policy, sequences)
    level_ids = torch.tensor(ids, device=policy.device)
    weight = policy.model.get_output_embeddings().weight.detach()
    change = torch.zeros(
        (len(ids), weight.shape[1]), device=weight.device, dtype=torch.float32, requires_grad=True
    )
    start = seen.slots @ weight.T
    fixed, due = seen.others @ weight.T, _is_level(start, level_ids)

    def brier(logits: Tensor) -> Tensor:
        return exact_brier(logits, level_ids, seen.outcomes, denominator=len(seen.outcomes))

    def objective() -> Tensor:
        moved = weight.index_add(0, level_ids, change)
        logits = seen.slots @ moved.T
        # Brier compares levels with each other: alone it may make all of them unlikely.
        held = _mean_kl(seen.others @ moved.T, fixed) + _mean_kl(_is_level(logits, level_ids), due)
        return brier(logits) + ridge * (change**2).sum() + _HOLD * held

    optimiser = torch.optim.Adam([change], lr=_RATE)
    for step in range(_STEPS):
        optimiser.param_groups[0]["lr"] = _RATE * (1.0 - step / _STEPS)
        optimiser.zero_grad()
        objective().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    with torch.no_grad():
        before = float(brier(start))
        after = weight.index_add(0, level_ids, change.detach())
        policy.model.get_output_embeddings().weight.copy_(after)
    return {
        "slots": float(len(seen.outcomes)),
        "brier_before": before,
        "brier_after": float(brier(seen.slots @ after.T)),
    }


def _is_level(logits: Tensor, level_ids: Tensor) -> Tensor:
    """[s, 2] logits of "any level" and "no level"."""
    others = logits.index_fill(1, level_ids, float("-inf"))
    return torch.stack([logits[:, level_ids].logsumexp(-1), others.logsumexp(-1)], dim=1)


def _mean_kl(logits: Tensor, before: Tensor) -> Tensor:
    weight = torch.full((len(logits),), 1.0 / max(len(logits), 1), device=logits.device)
    return exact_kl(logits, before, weight)


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
    for batch in pack([s for s in sequences if s.brier], bounds):
        chosen = trained_tokens(batch, policy.device)
        features = scorer.features(batch, chosen).float()
        count = len(chosen.targets)
        others.append(features[:count])
        slots.append(features[count:])
        outcomes.append(chosen.outcomes)
    return _Seen(slots=torch.cat(slots), outcomes=torch.cat(outcomes), others=torch.cat(others))
