"""One optimiser step from training sequences, whichever stage they come from.

A stage says with weights which token enters which loss; the trainer packs the sequences into rows,
sums the losses over micro-batches with denominators that are fixed for the whole step, and updates
the weights. So neither the size of a micro-batch nor the number of rows changes a loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.utils.checkpoint import checkpoint as recompute

from forethought.algos.losses import (
    LossTerms,
    RatioStats,
    clipped_surrogate,
    cross_entropy,
    exact_brier,
    exact_kl,
    token_logprobs,
)
from forethought.algos.packing import PackConfig, PackedBatch, pack
from forethought.errors import InputError
from forethought.training.guards import (
    WeightWatch,
    require_finite_gradient,
    require_finite_loss,
    require_trained_tokens,
)
from forethought.training.optim import OptimConfig, build_optimizer
from forethought.training.policy import Policy
from forethought.types import TrainingSequence

StepStats = dict[str, float]
"""What a step did, by name; `Trainer.step` lists the names."""

_LOGITS_KEPT = 1 << 26  # logits of a chunk of tokens; more are computed again in the backward pass


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerConfig:
    """Bounds, number formats and coefficients of a run's optimiser steps."""

    total_steps: int  # of the run, for the schedule of the learning rate
    micro_batch_tokens: int = 8192  # padding included; a longer sequence is refused
    row_length: int = 256  # tokens of a shared row; the longest sequence where that is more
    share_rows: bool = True  # False: one sequence a row
    bf16: bool = False  # autocast of the forward pass; weights keep their own format
    clip_grad_norm: float = 1.0  # 0 = off
    temperature: float = 1.0  # at which the tokens of the policy gradient were sampled
    clip_low: float = 0.2
    clip_high: float = 0.28
    ce_coefficient: float = 1.0
    pg_coefficient: float = 1.0
    brier_coefficient: float = 1.0
    kl_coefficient: float = 0.0  # of KL(policy || reference); needs a reference


@dataclass(frozen=True, slots=True, kw_only=True)
class Denominators:
    """What each loss sum of an optimiser step is divided by. None: no sequence has that loss."""

    ce: float | None = None  # normally the sum of the cross-entropy weights
    pg: float | None = None  # valid rollouts times a reference length, silent groups included
    brier: float | None = None  # normally the number of parsed blocks


@dataclass(slots=True)
class _Totals:
    """Sums over the micro-batches of a step."""

    ce: float = 0.0
    pg: float = 0.0
    brier: float = 0.0
    kl: float = 0.0
    trained: int = 0  # tokens and slots with a weight
    forwarded: int = 0
    padding: int = 0
    scored: int = 0  # tokens in `entropy`
    entropy: float = 0.0
    ratio: RatioStats = field(default_factory=RatioStats)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trained:
    """The tokens of a micro-batch that have a loss: n tokens, then s Brier slots."""

    rows: Tensor  # [n + s]
    columns: Tensor  # [n + s] of the position that predicts: one before the token
    targets: Tensor  # [n] token ids
    streams: dict[str, Tensor]  # [n] each: ce_weight, pg_weight, advantage, sampling_logprobs
    outcomes: Tensor  # [s] what the levels are scored against


class Trainer:
    """Holds a policy and its optimiser."""

    def __init__(
        self,
        policy: Policy,
        optim: OptimConfig,
        config: TrainerConfig,
        reference: Policy | None = None,
    ) -> None:
        """Makes the optimiser; its state starts at zero. `reference` is never changed."""
        assert reference is not None or not config.kl_coefficient, "a KL term needs a reference"
        self.policy = policy
        self._reference = reference if config.kl_coefficient else None
        self.config = config
        self.optimiser = build_optimizer(policy.model, optim)
        ids = policy.level_ids()
        self._level_ids = None if ids is None else torch.tensor(ids, device=policy.device)

    def step(
        self, sequences: Sequence[TrainingSequence], *, denominators: Denominators, step_index: int
    ) -> StepStats:
        """One optimiser step on a whole batch.

        Args:
            sequences: the batch; its order does not matter but for rounding.
            denominators: of the whole batch.
            step_index: from 0; decides the learning rate.

        Returns:
            loss (with coefficients), ce_loss, pg_loss, brier_loss, kl_loss (without); grad_norm
            before clipping; lr_factor; trained_tokens (with a weight, Brier slots included),
            forwarded_tokens (without padding), padding_share of the rows; entropy in nats, mean
            over trained tokens at the sampling temperature; with policy-gradient tokens also the
            means of `RatioStats`.

        Raises:
            GuardRail: no trained token, a loss or gradient that is not finite (the weights are
                untouched), or a step that changed no weight.
            InputError: a sequence that is too long, or a loss without its denominator.
        """
        totals, loss = self._gradients(sequences, denominators, step_index)
        parameters = self.optimiser.parameters
        total = get_total_norm([p.grad for p in parameters if p.grad is not None])
        norm = float(total)
        require_finite_gradient(norm, self.policy.model.named_parameters(), step_index)
        if self.config.clip_grad_norm:
            clip_grads_with_norm_(parameters, self.config.clip_grad_norm, total)
        watch = WeightWatch.before(parameters)
        factor = self.optimiser.step(step_index, self.config.total_steps)
        watch.require_change(norm, factor, step_index)
        self.optimiser.zero_grad()
        stats = {
            "loss": loss,
            "ce_loss": totals.ce,
            "pg_loss": totals.pg,
            "brier_loss": totals.brier,
            "kl_loss": totals.kl,
            "grad_norm": norm,
            "lr_factor": factor,
            "trained_tokens": float(totals.trained),
            "forwarded_tokens": float(totals.forwarded),
            "padding_share": totals.padding / (totals.padding + totals.forwarded),
            "entropy": totals.entropy / max(totals.scored, 1),
        }
        return stats | (totals.ratio.means() if totals.ratio.count else {})

    def _gradients(
        self, sequences: Sequence[TrainingSequence], denominators: Denominators, step: int
    ) -> tuple[_Totals, float]:
        """Leaves the gradient of the whole batch in the parameters; returns its sums and loss."""
        counts = [_trained_tokens(sequence, self.config) for sequence in sequences]
        trained = sum(counts)
        require_trained_tokens(trained, [sequence.source for sequence in sequences])
        # A sequence without a weight has no gradient, so it needs no forward pass.
        sequences = [s for s, count in zip(sequences, counts, strict=True) if count]
        sources = [sequence.source for sequence in sequences]
        self._check(sequences, denominators)
        totals, loss = _Totals(trained=trained), 0.0
        self.policy.model.train()
        self.optimiser.zero_grad()
        for batch in pack(sequences, self._pack_config(sequences)):
            terms = self._terms(batch, denominators, totals)
            value = float(terms.total.detach())
            here = [sources[index] for row in batch.members for index in row]
            require_finite_loss(value, here, step)
            terms.total.backward()  # type: ignore[no-untyped-call]
            loss += value
        self.policy.model.eval()
        return totals, loss

    def _pack_config(self, sequences: Sequence[TrainingSequence]) -> PackConfig:
        longest = max(len(sequence.ids) for sequence in sequences)
        positions = getattr(self.policy.model.config, "max_position_embeddings", None)
        if positions is not None and longest > positions:
            source = next(s.source for s in sequences if len(s.ids) == longest)
            raise InputError(
                f"sequence {source or '?'}",
                got=f"{longest} tokens",
                expected=f"at most {positions} (the positions of the model)",
                next_step="lower rollout.max_context_tokens or take a model with more positions",
            )
        bound = self.config.micro_batch_tokens
        return PackConfig(
            max_row_tokens=min(max(self.config.row_length, longest), bound),
            max_batch_tokens=bound,
            share_rows=self.config.share_rows,
            pad_id=self.policy.tokenizer.pad_token_id or 0,
        )

    def _check(self, sequences: Sequence[TrainingSequence], denominators: Denominators) -> None:
        config = self.config
        used = {
            "ce": config.ce_coefficient and any(any(s.ce_weight) for s in sequences),
            "pg": config.pg_coefficient and any(any(s.pg_weight) for s in sequences),
            "brier": config.brier_coefficient and any(s.brier for s in sequences),
        }
        for name, present in used.items():
            value = getattr(denominators, name)
            if present and (value is None or not value > 0):
                raise InputError(
                    f"Denominators.{name}",
                    got=str(value),
                    expected="a number above 0, because sequences have this loss",
                    next_step="count over the whole batch",
                )
        if used["brier"] and self._level_ids is None:
            raise InputError(
                "Brier slots",
                got="a tokenizer that cuts the numerals of levels apart",
                expected="21 levels of one token each",
                next_step="give the confidence tokens a policy-gradient weight instead",
            )

    def _terms(self, batch: PackedBatch, over: Denominators, totals: _Totals) -> LossTerms:
        """The losses of a micro-batch, coefficients applied; adds what happened to `totals`."""
        chosen = self._trained(batch)
        totals.forwarded += batch.num_tokens
        totals.padding += batch.document.size - batch.num_tokens
        gathered = self._features(self.policy, batch, chosen)
        n = len(chosen.targets)
        logprobs, tempered, entropy = self._score(gathered[:n], chosen.targets)
        totals.scored += n
        totals.entropy += float(entropy)
        streams, zero = chosen.streams, gathered.new_zeros((), dtype=torch.float32)
        config, ratio = self.config, RatioStats()
        ce = pg = brier = kl = zero
        if over.ce and config.ce_coefficient:
            ce = cross_entropy(logprobs, streams["ce_weight"], denominator=over.ce)
        if over.pg and config.pg_coefficient:
            surrogate = clipped_surrogate(
                tempered,
                streams["sampling_logprobs"],
                streams["advantage"],
                streams["pg_weight"],
                clip=(config.clip_low, config.clip_high),
                denominator=over.pg,
            )
            pg, ratio = surrogate.loss, surrogate.ratio
        if over.brier and config.brier_coefficient and len(chosen.outcomes):
            assert self._level_ids is not None, "checked before the forward pass"
            brier = exact_brier(
                self._project(self.policy, gathered[n:]),
                self._level_ids,
                chosen.outcomes,
                denominator=over.brier,
                temperature=config.temperature,
            )
        if over.pg and self._reference is not None:
            weight = (streams["pg_weight"] != 0).float() / over.pg
            kl = self._divergence(batch, chosen, gathered[:n], weight)
        totals.kl += float(kl.detach())
        totals.ce += float(ce.detach())
        totals.pg += float(pg.detach())
        totals.brier += float(brier.detach())
        totals.ratio += ratio
        return LossTerms(
            policy=config.pg_coefficient * pg,
            cross_entropy=config.ce_coefficient * ce,
            brier=config.brier_coefficient * brier,
            kl=config.kl_coefficient * kl,
            ratio=ratio,
        )

    def _trained(self, batch: PackedBatch) -> _Trained:
        device = self.policy.device
        rows, columns = ((batch.ce_weight != 0) | (batch.pg_weight != 0)).nonzero()
        names = ("ce_weight", "pg_weight", "advantage", "sampling_logprobs")
        streams = {
            name: torch.from_numpy(getattr(batch, name)[rows, columns]).to(device) for name in names
        }
        before = [torch.from_numpy(columns - 1), torch.from_numpy(batch.brier_position - 1)]
        lines = [torch.from_numpy(rows), torch.from_numpy(batch.brier_row)]
        return _Trained(
            rows=torch.cat(lines).to(device),
            columns=torch.cat(before).to(device),
            targets=torch.from_numpy(batch.ids[rows, columns]).to(device),
            streams=streams,
            outcomes=torch.from_numpy(batch.brier_target).to(device),
        )

    def _autocast(self) -> torch.autocast:
        kind = self.policy.device.type
        return torch.autocast(kind, dtype=torch.bfloat16, enabled=self.config.bf16)

    def _features(self, policy: Policy, batch: PackedBatch, chosen: _Trained) -> Tensor:
        """Features [n + s, *] of the positions that predict a trained token."""
        device = self.policy.device
        ids = torch.from_numpy(batch.ids).to(device)
        mask = positions = None
        if any(len(row) > 1 for row in batch.members):
            mask = document_mask(torch.from_numpy(batch.document).to(device))
            positions = torch.from_numpy(batch.position).to(device)
        # Alone in its row a document needs no mask: padding lies behind it, unseen.
        with self._autocast():
            features = policy.features(ids, mask, positions)
        return features[chosen.rows, chosen.columns]

    def _divergence(
        self, batch: PackedBatch, chosen: _Trained, gathered: Tensor, weight: Tensor
    ) -> Tensor:
        """Weighted KL to the reference at the positions of the trained tokens."""
        assert self._reference is not None
        n, size = len(chosen.targets), self._chunk()
        with torch.no_grad():
            anchor = self._features(self._reference, batch, chosen)[:n]

        def part(mine: Tensor, other: Tensor, weight: Tensor) -> Tensor:
            assert self._reference is not None
            with torch.no_grad():
                fixed = self._project(self._reference, other)
            logits = self._project(self.policy, mine)
            return exact_kl(logits, fixed, weight, temperature=self.config.temperature)

        pieces = [slice(first, first + size) for first in range(0, n, size)]
        if len(pieces) == 1:
            return part(gathered, anchor, weight)
        terms = [
            recompute(part, gathered[p], anchor[p], weight[p], use_reentrant=False) for p in pieces
        ]
        return torch.stack(terms).sum()

    def _chunk(self) -> int:
        """Tokens whose logits are kept at a time."""
        return max(1, _LOGITS_KEPT // int(self.policy.model.config.vocab_size))

    def _project(self, policy: Policy, gathered: Tensor) -> Tensor:
        """Logits, in the format of the weights: in bfloat16 those of 16 are 0.125 apart."""
        with torch.autocast(policy.device.type, enabled=False):
            return policy.project(gathered.to(policy.dtype))

    def _score(self, gathered: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probabilities [n] at temperature 1 and [n] at that of sampling; summed entropy."""
        size = self._chunk()
        if len(targets) <= size:
            return self._score_chunk(gathered, targets)
        parts = [
            recompute(
                self._score_chunk,
                gathered[first : first + size],
                targets[first : first + size],
                use_reentrant=False,
            )
            for first in range(0, len(targets), size)
        ]
        plain, tempered, entropy = zip(*parts, strict=True)
        return torch.cat(plain), torch.cat(tempered), torch.stack(entropy).sum()

    def _score_chunk(self, gathered: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits = self._project(self.policy, gathered)
        plain = tempered = token_logprobs(logits, targets)
        if self.config.temperature != 1.0:
            tempered = token_logprobs(logits, targets, self.config.temperature)
        with torch.no_grad():
            every = (logits.float() / self.config.temperature).log_softmax(-1)
            entropy = -(every.exp() * every).sum()
        return plain, tempered, entropy


def document_mask(document: Tensor) -> Tensor:
    """Who may see whom in packed rows: earlier tokens of the same document, and oneself.

    Args:
        document: [B, L] number of the document; padding counts as one more document, so that no
            position is left without anything to see.

    Returns:
        [B, L, L] bool, query by key.
    """
    same = document.unsqueeze(2) == document.unsqueeze(1)
    return same.tril()


def _trained_tokens(sequence: TrainingSequence, config: TrainerConfig) -> int:
    """Tokens and Brier slots with a weight in a loss whose coefficient is not 0."""
    ce = sequence.ce_weight if config.ce_coefficient else ()
    pg = sequence.pg_weight if config.pg_coefficient else ()
    size = max(len(ce), len(pg))
    weights = zip(ce or (0.0,) * size, pg or (0.0,) * size, strict=True)
    count = sum(a != 0 or b != 0 for a, b in weights)
    return count + (len(sequence.brier) if config.brier_coefficient else 0)
