"""What a policy makes of the trained tokens of a micro-batch: everything that losses are built of.

The model runs over whole rows, but only positions that predict a trained token are projected onto
the vocabulary, one chunk of tokens at a time. Each chunk is projected once, and its logits give
log-probabilities, entropy and the divergence from a reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding, linear
from torch.utils.checkpoint import checkpoint as recompute

from forethought.algos.losses import exact_brier, score_tokens, token_logprobs
from forethought.algos.packing import PackedBatch
from forethought.training.llama import llama_features, reads_as_llama
from forethought.training.policy import Policy
from forethought.training.rows import can_share, row_features

_LOGITS = 1 << 22  # of a chunk of tokens: they stay near the core
_TOKENS = 256  # of a chunk at least: each adds its gradient to that of the output embeddings
_TOKENS_NARROW = 512  # in bfloat16, where that gradient is also changed to float32 every time
_KEPT = 1 << 27  # logits of a micro-batch that wait for the backward pass; more are computed again


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """The tokens of a micro-batch that have a loss: n tokens, then s Brier slots."""

    predictors: Tensor  # [n + s] where they are predicted: index into `rows.row_features`
    targets: Tensor  # [n] token ids
    streams: dict[str, Tensor]  # [n] each: ce_weight, pg_weight, kl_weight, advantage,
    # sampling_logprobs
    outcomes: Tensor  # [s] what the levels are scored against


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """The n trained tokens under the policy, and what the Brier slots are projected from."""

    logprobs: Tensor  # [n] at temperature 1; as `tempered` where no token has a cross-entropy
    tempered: Tensor  # [n] at the sampling temperature
    entropy: Tensor  # scalar: sum in nats at the sampling temperature; no gradient
    kl: Tensor  # scalar: weighted sum of KL(policy || reference); 0 without weights
    slots: Tensor  # [s, *] features that predict the level tokens


def trained_tokens(batch: PackedBatch, device: torch.device) -> Trained:
    """Tokens with a weight and Brier slots, as tensors on `device`."""
    weighted = (batch.ce_weight != 0) | (batch.pg_weight != 0) | (batch.kl_weight != 0)
    rows, columns = weighted.nonzero()
    names = ("ce_weight", "pg_weight", "kl_weight", "advantage", "sampling_logprobs")
    streams = {
        name: torch.from_numpy(getattr(batch, name)[rows, columns]).to(device) for name in names
    }
    places = np.append(rows, batch.brier_row), np.append(columns, batch.brier_position)
    return Trained(
        predictors=torch.from_numpy(_predictors(batch, *places)).to(device),
        targets=torch.from_numpy(batch.ids[rows, columns]).to(device),
        streams=streams,
        outcomes=torch.from_numpy(batch.brier_target).to(device),
    )


def _predictors(
    batch: PackedBatch, rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Where tokens are predicted: one before, or at the end of their prefix."""
    before: npt.NDArray[np.int64] = rows * batch.ids.shape[1] + columns - 1
    if batch.prefixes is None:
        return before
    count, width = batch.prefixes.ids.shape
    prefix = batch.prefix_of_row()[rows]
    lengths = batch.prefixes.lengths[prefix]
    first = batch.position[rows, columns] == lengths
    before = count * width + before
    before[first] = (prefix * width + lengths - 1)[first]
    return before


@dataclass(frozen=True, slots=True, kw_only=True)
class _Projecting:
    """What all chunks of a micro-batch share."""

    narrow: Tensor | None  # output embeddings in bfloat16, for the gradient
    plain_too: bool  # log-probabilities at temperature 1 beside those at another


class Scorer:
    """Scores micro-batches under a policy and, for the divergence, under a reference."""

    def __init__(
        self,
        policy: Policy,
        reference: Policy | None = None,
        *,
        temperature: float = 1.0,
        bf16: bool = False,
        kl_temperature: float = 1.0,
    ) -> None:
        """Takes the models.

        Args:
            policy: gets a gradient.
            reference: gets none.
            temperature: at which the tokens of the policy gradient were sampled.
            kl_temperature: the reference is taken at this temperature (times that of sampling), but
                as it is for tokens whose KL term trains the output embeddings alone.
            bf16: autocast of the pass over the rows; logits keep the format of the weights.
        """
        self.policy = policy
        self.reference = reference
        self._temperature = temperature
        self._bf16 = bf16
        self._kl_temperature = kl_temperature
        ids = policy.level_ids()
        self.level_ids = None if ids is None else torch.tensor(ids, device=policy.device)
        self._shares: bool | None = None
        self._llamas: dict[Policy, bool] = {}

    def shares_prefixes(self) -> bool:
        """Whether all models can read a common beginning once; tried out at the first call."""
        if self._shares is None:
            models = [self.policy] if self.reference is None else [self.policy, self.reference]
            self._shares = all(can_share(model) for model in models)
        return self._shares

    def skips_padding(self) -> bool:
        """Whether the policy is read token by token, so that padding costs nothing."""
        return self._is_llama(self.policy)

    def _is_llama(self, policy: Policy) -> bool:
        if policy not in self._llamas:
            self._llamas[policy] = reads_as_llama(policy)
        return self._llamas[policy]

    def score(self, batch: PackedBatch, chosen: Trained, kl_weight: Tensor | None = None) -> Scores:
        """Everything that the losses of a micro-batch need.

        Args:
            batch: the rows.
            chosen: its trained tokens.
            kl_weight: [n] of each token in the divergence; needs a reference.
        """
        n, anchor, softness = len(chosen.targets), None, None
        features = self._features(self.policy, batch, chosen)
        held = chosen.streams["kl_weight"] < 0
        if held.any():
            below = torch.cat([held, held.new_zeros(len(features) - n)]).unsqueeze(1)
            features = torch.where(below, features.detach(), features)
        if kl_weight is not None:
            assert self.reference is not None, "a divergence needs a reference"
            with torch.no_grad():
                anchor = self._features(self.reference, batch, chosen)[:n]
            softness = torch.where(held, 1.0, self._kl_temperature)
        vocabulary = int(self.policy.model.config.vocab_size)
        head = self.policy.plain_head() if self._bf16 else None
        size = max(_TOKENS if head is None else _TOKENS_NARROW, _LOGITS // vocabulary)
        pieces = [slice(first, min(first + size, n)) for first in range(0, max(n, 1), size)]
        run = self._chunk
        if n * vocabulary * (1 if kl_weight is None else 2) > _KEPT:
            run = partial(recompute, self._chunk, use_reentrant=False)
        how = _Projecting(
            narrow=None if head is None else head.detach().to(torch.bfloat16),
            plain_too=self._temperature != 1.0 and bool(chosen.streams["ce_weight"].any()),
        )
        parts = [
            run(
                features[piece],
                chosen.targets[piece],
                None if anchor is None else anchor[piece],
                None if kl_weight is None else kl_weight[piece],
                None if softness is None else softness[piece],
                how,
            )
            for piece in pieces
        ]
        logprobs, tempered, entropy, kl = zip(*parts, strict=True)
        return Scores(
            logprobs=torch.cat(logprobs),
            tempered=torch.cat(tempered),
            entropy=torch.stack(entropy).sum(),
            kl=torch.stack(kl).sum(),
            slots=features[n:],
        )

    def brier(self, slots: Tensor, outcomes: Tensor, *, denominator: float) -> Tensor:
        """The exact Brier loss of slots [s, *] against outcomes [s]; needs levels of one token."""
        assert self.level_ids is not None, "checked before the forward pass"
        return exact_brier(
            _project(self.policy, slots),
            self.level_ids,
            outcomes,
            denominator=denominator,
            temperature=self._temperature,
        )

    def features(self, batch: PackedBatch, chosen: Trained) -> Tensor:
        """Features [n + s, *] of the policy that predict the trained tokens, then the levels."""
        return self._features(self.policy, batch, chosen)

    def _features(self, policy: Policy, batch: PackedBatch, chosen: Trained) -> Tensor:
        """Features [n + s, *] of the positions that predict a trained token."""
        if self._is_llama(policy):
            return llama_features(policy.model, batch, chosen.predictors, bf16=self._bf16)
        with torch.autocast(policy.device.type, dtype=torch.bfloat16, enabled=self._bf16):
            features = row_features(policy, batch)
        # The last token of a prefix predicts in many sequences. This look-up adds up its gradient
        # in a fixed order; that of an index does so in the order in which threads arrive.
        return embedding(chosen.predictors, features)

    def _chunk(
        self,
        features: Tensor,
        targets: Tensor,
        anchor: Tensor | None,
        weight: Tensor | None,
        softness: Tensor | None,
        how: _Projecting,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The first four fields of `Scores` for some tokens, from one projection of each model."""
        logits, fixed = _project(self.policy, features, how.narrow), None
        if anchor is not None and softness is not None:
            assert self.reference is not None
            with torch.no_grad():
                fixed = _project(self.reference, anchor) / softness.unsqueeze(1)
        found = score_tokens(
            logits, targets, temperature=self._temperature, reference=fixed, weight=weight
        )
        plain = found.logprobs
        if how.plain_too:
            plain = token_logprobs(logits, targets)
        return plain, found.logprobs, found.entropy, found.kl


def _project(policy: Policy, features: Tensor, narrow: Tensor | None = None) -> Tensor:
    """Logits, in the format of the weights: in bfloat16 those of 16 are 0.125 apart.

    Args:
        policy: projects.
        features: [n, *].
        narrow: the output embeddings [V, D] in bfloat16, for the gradient alone.
    """
    with torch.autocast(policy.device.type, enabled=False):
        features = features.to(policy.dtype)
        if narrow is None:
            return policy.project(features)
        made: Tensor = _NarrowGradient.apply(  # type: ignore[no-untyped-call]
            features, policy.plain_head(), narrow
        )
        return made


class _NarrowGradient(torch.autograd.Function):
    """Logits as they are, with a gradient whose products are in bfloat16, as in the layers."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, features: Tensor, weight: Tensor, narrow: Tensor
    ) -> Tensor:
        ctx.save_for_backward(features, narrow)
        return linear(features, weight)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        features, narrow = ctx.saved_tensors
        gradient = gradient.to(narrow.dtype)
        d_features = d_weight = None
        if ctx.needs_input_grad[0]:
            d_features = (gradient @ narrow).to(features.dtype)
        if ctx.needs_input_grad[1]:
            d_weight = (gradient.t() @ features.to(narrow.dtype)).to(features.dtype)
        return d_features, d_weight, None
