"""One optimiser step from training sequences, whichever stage they come from.

A stage says with weights which token enters which loss; the trainer packs the sequences into rows,
sums the losses over micro-batches with denominators that are fixed for the whole step, and updates
the weights. So neither the size of a micro-batch nor the number of rows changes a loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import zip_longest

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from forethought.algos.losses import LossTerms, RatioStats, clipped_surrogate, cross_entropy
from forethought.algos.packing import PackConfig, PackedBatch, pack
from forethought.algos.prefixes import documents
from forethought.errors import InputError
from forethought.training.guards import (
    WeightWatch,
    require_finite_gradient,
    require_finite_loss,
    require_trained_tokens,
)
from forethought.training.optim import OptimConfig, build_optimizer
from forethought.training.policy import Policy
from forethought.training.scoring import Scorer, trained_tokens
from forethought.types import TrainingSequence

StepStats = dict[str, float]
"""What a step did, by name; `Trainer.step` lists the names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerConfig:
    """Bounds, number formats and coefficients of a run's optimiser steps."""

    total_steps: int  # of the run, for the schedule of the learning rate
    micro_batch_tokens: int = 4096  # padding included; a longer sequence is refused
    row_length: int = 256  # tokens of a shared row; the longest sequence where that is more
    share_rows: bool = True  # False: one sequence a row
    share_prefixes: bool = True  # False: what sequences begin with is read in each of them
    bf16: bool = False  # autocast of the forward pass; weights keep their own format
    clip_grad_norm: float = 1.0  # 0 = off
    temperature: float = 1.0  # at which the tokens of the policy gradient were sampled
    clip_low: float = 0.2
    clip_high: float = 0.28
    ce_coefficient: float = 1.0
    pg_coefficient: float = 1.0
    brier_coefficient: float = 1.0
    kl_coefficient: float = 0.0  # of KL(policy || reference); needs a reference
    kl_temperature: float = 1.0  # of the reference, beside that of sampling
    brier_below: float | None = None  # a number: output embeddings of their own learn from Brier
    # slots and the KL term alone, and this share of the Brier gradient reaches the layers; None: a
    # loss like the others


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
    shared: int = 0  # tokens that are not forwarded again
    padding: int = 0
    scored: int = 0  # tokens in `entropy`
    entropy: float = 0.0
    ratio: RatioStats = field(default_factory=RatioStats)


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
        self.config = config
        if config.brier_below is not None:
            policy.untie()
            policy.model.get_input_embeddings().weight.requires_grad_(False)
            for parameter in policy.model.parameters():
                if parameter.ndim == 1:  # norms scale what both losses read
                    parameter.requires_grad_(False)
        self.optimiser = build_optimizer(policy.model, optim)
        self._scorer = Scorer(
            policy,
            reference if config.kl_coefficient else None,
            temperature=config.temperature,
            bf16=config.bf16,
            kl_temperature=config.kl_temperature,
        )

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
            forwarded_tokens (without padding), shared_tokens (not forwarded again: of prefixes
            that stand once for several sequences), padding_share of what is forwarded; entropy in
            nats, mean over trained tokens at the sampling temperature; with policy-gradient tokens
            also the means of `RatioStats`.

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
            "shared_tokens": float(totals.shared),
            "padding_share": totals.padding / (totals.padding + totals.forwarded),
            "entropy": totals.entropy / max(totals.scored, 1),
        }
        return stats | (totals.ratio.means() if totals.ratio.count else {})

    def _gradients(
        self, sequences: Sequence[TrainingSequence], denominators: Denominators, step: int
    ) -> tuple[_Totals, float]:
        """Leaves the gradient of the whole batch in the parameters; returns its sums and loss."""
        shares = self.config.share_prefixes and self._scorer.shares_prefixes()
        if shares:  # documents that begin alike lie in one sequence where turns forget
            sequences = [document for sequence in sequences for document in documents(sequence)]
        counts = [_count_trained(sequence, self.config) for sequence in sequences]
        trained = sum(counts)
        require_trained_tokens(trained, [sequence.source for sequence in sequences])
        # A sequence without a weight has no gradient, so it needs no forward pass.
        sequences = [s for s, count in zip(sequences, counts, strict=True) if count]
        sources = [sequence.source for sequence in sequences]
        self._check(sequences, denominators)
        totals, loss = _Totals(trained=trained), 0.0
        moved, held = list[Tensor](), list[Tensor]()  # what trains and what holds the readout
        self.policy.model.train()
        self.optimiser.zero_grad()
        for batch in pack(sequences, self._pack_config(sequences, shares)):
            terms = self._terms(batch, denominators, totals)
            value = float(terms.total.detach())
            here = [sources[index] for row in batch.members for index in row]
            require_finite_loss(value, here, step)
            moved += [] if terms.readout is None else [terms.readout]
            if self.config.brier_below is not None and terms.kl.requires_grad:
                held.append(self._hold_on_readout(terms.kl / self.config.kl_coefficient))
            if terms.total.requires_grad:  # rows may hold Brier slots alone
                terms.total.backward()  # type: ignore[no-untyped-call]
            loss += value
        if self.config.brier_below is not None:
            self._train_readout(moved, held)
        self.policy.model.eval()
        return totals, loss

    def _hold_on_readout(self, kl: Tensor) -> Tensor:
        """What the KL term asks of the output embeddings, taken before it is summed with others.

        Without it nothing holds a level's embedding where another token is due: a number that the
        Brier term moves far is then written twice ("0 0 %").
        """
        weight = self.policy.model.get_output_embeddings().weight
        found: Tensor
        (found,) = torch.autograd.grad(kl, weight, retain_graph=True)
        return found

    def _train_readout(self, brier: Sequence[Tensor], held: Sequence[Tensor]) -> None:
        """Gives the output embeddings the gradient of the Brier and KL terms, and of no other.

        A number that trains the layers below it at full strength makes outcomes easier to foretell,
        and the surest outcome is failure: success fell while the Brier loss did (docs/log.md).
        """
        self.policy.model.get_output_embeddings().weight.grad = (
            sum(held[1:], held[0]) if held else None
        )
        if brier:
            torch.stack(list(brier)).sum().backward()  # type: ignore[no-untyped-call]

    def _pack_config(self, sequences: Sequence[TrainingSequence], shares: bool) -> PackConfig:
        longest = max(len(sequence.ids) for sequence in sequences)
        positions = getattr(self.policy.model.config, "max_position_embeddings", None)
        farthest = max(_longest_document(sequence) for sequence in sequences)
        if positions is not None and farthest > positions:
            source = next(s.source for s in sequences if _longest_document(s) == farthest)
            raise InputError(
                f"sequence {source or '?'}",
                got=f"{farthest} tokens",
                expected=f"at most {positions} (the positions of the model)",
                next_step="lower rollout.max_context_tokens or take a model with more positions",
            )
        bound = self.config.micro_batch_tokens
        return PackConfig(
            max_row_tokens=min(max(self.config.row_length, longest), bound),
            max_batch_tokens=bound,
            share_rows=self.config.share_rows,
            share_prefixes=shares,
            ragged=self._scorer.skips_padding(),
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
        if used["brier"] and self._scorer.level_ids is None:
            raise InputError(
                "Brier slots",
                got="a tokenizer that cuts the numerals of levels apart",
                expected="21 levels of one token each",
                next_step="give the confidence tokens a policy-gradient weight instead",
            )

    def _terms(self, batch: PackedBatch, over: Denominators, totals: _Totals) -> LossTerms:
        """The losses of a micro-batch, coefficients applied; adds what happened to `totals`."""
        chosen = trained_tokens(batch, self.policy.device)
        streams, kl_weight = chosen.streams, None
        if over.pg and self._scorer.reference is not None:
            kl_weight = streams["kl_weight"].abs() / over.pg
        scores = self._scorer.score(batch, chosen, kl_weight)
        totals.forwarded += batch.num_tokens
        totals.shared += batch.shared_tokens
        if not self._scorer.skips_padding():
            totals.padding += batch.size - batch.num_tokens
        totals.scored += len(chosen.targets)
        totals.entropy += float(scores.entropy)
        config, ratio = self.config, RatioStats()
        ce = pg = brier = scores.logprobs.new_zeros(())
        if over.ce and config.ce_coefficient:
            ce = cross_entropy(scores.logprobs, streams["ce_weight"], denominator=over.ce)
        if over.pg and config.pg_coefficient:
            surrogate = clipped_surrogate(
                scores.tempered,
                streams["sampling_logprobs"],
                streams["advantage"],
                streams["pg_weight"],
                clip=(config.clip_low, config.clip_high),
                denominator=over.pg,
            )
            pg, ratio = surrogate.loss, surrogate.ratio
        readout = None
        if over.brier and config.brier_coefficient and len(chosen.outcomes):
            score = partial(self._scorer.brier, outcomes=chosen.outcomes, denominator=over.brier)
            brier = score(scores.slots)
            if config.brier_below is not None:
                readout = config.brier_coefficient * score(scores.slots.detach())
                below = config.brier_below
                brier = below * brier + (1.0 - below) * brier.detach()
        totals.kl += float(scores.kl.detach())
        totals.ce += float(ce.detach())
        totals.pg += float(pg.detach())
        totals.brier += float(brier.detach())
        totals.ratio += ratio
        return LossTerms(
            policy=config.pg_coefficient * pg,
            cross_entropy=config.ce_coefficient * ce,
            brier=config.brier_coefficient * brier,
            kl=config.kl_coefficient * scores.kl,
            readout=readout,
            ratio=ratio,
        )


def _longest_document(sequence: TrainingSequence) -> int:
    return max(end - begin for begin, end in sequence.documents)


def _count_trained(sequence: TrainingSequence, config: TrainerConfig) -> int:
    """Tokens and Brier slots with a weight in a loss whose coefficient is not 0."""
    ce = sequence.ce_weight if config.ce_coefficient else ()
    pg = sequence.pg_weight if config.pg_coefficient else ()
    kl = sequence.kl_weight if config.kl_coefficient else ()
    count = sum(any(weights) for weights in zip_longest(ce, pg, kl, fillvalue=0.0))
    return count + (len(sequence.brier) if config.brier_coefficient else 0)
