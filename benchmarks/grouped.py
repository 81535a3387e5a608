"""Grouped rows of `training.py`: attempts that share a prompt, beside a padded pass."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import torch
from arithmetic import UNITS, Product, cells, seen_within, training_flops
from gradients import SAME, apart, gradient_of
from sides import build_model, rounds

from forethought.training.optim import OptimConfig
from forethought.training.policy import Policy
from forethought.training.tiny import build_word_tokenizer
from forethought.training.trainer import Denominators, Trainer, TrainerConfig
from forethought.types import TrainingSequence

RATE, CLIP_NORM, CLIP = 1e-4, 1.0, (0.2, 0.28)
MOVED = 0.2  # standard deviation of the log ratio to the policy that sampled, in nats


@dataclass(frozen=True, slots=True)
class Group:
    """One group of attempts."""

    members: int = 8
    prompt: int = 200  # tokens that all of them begin with
    suffix: int = 200  # tokens of each alone; every second stretch of 10 carries a weight

    @property
    def tokens(self) -> int:
        """Of all attempts, the prompt as often as it stands there."""
        return self.members * (self.prompt + self.suffix)

    @property
    def needed(self) -> int:
        """Tokens whose features differ: the prompt once."""
        return self.prompt + self.members * self.suffix

    @property
    def seen(self) -> int:
        """Pairs of a token and one that it sees, those within the prompt once."""
        whole = seen_within([self.prompt + self.suffix]) - seen_within([self.prompt])
        return seen_within([self.prompt]) + self.members * whole


@dataclass(frozen=True, slots=True)
class Batch:
    """A group as tensors [members, length] each."""

    ids: torch.Tensor
    weight: torch.Tensor
    advantage: torch.Tensor
    sampled: torch.Tensor  # log-probabilities under the policy that sampled

    def sequences(self) -> list[TrainingSequence]:
        """The same for our trainer."""
        columns = (self.ids, self.weight, self.advantage, self.sampled)
        return [
            TrainingSequence(
                ids=tuple(ids),
                pg_weight=tuple(weight),
                advantage=tuple(advantage),
                sampling_logprobs=tuple(sampled),
            )
            for ids, weight, advantage, sampled in zip(
                *(column.tolist() for column in columns), strict=True
            )
        ]


def make_batch(model: Any, group: Group) -> Batch:
    """Made-up ids; a half of the members gains, and ratios lie around 1."""
    draw = torch.Generator().manual_seed(0)
    length = group.prompt + group.suffix
    ids = torch.randint(4, model.config.vocab_size, (group.members, length), generator=draw)
    ids[:, : group.prompt] = ids[0, : group.prompt]
    weight = torch.zeros(group.members, length)
    weight[:, group.prompt :] = (torch.arange(group.suffix) // 10 % 2 == 0).float()
    gain = torch.linspace(-1.0, 1.0, group.members)[:, None]
    with torch.no_grad():
        rows = [logprobs(model, row[None])[0] for row in ids]
    moved = torch.stack(rows) + MOVED * torch.randn(ids.shape, generator=draw)
    return Batch(ids, weight, gain * weight, moved * weight)


def logprobs(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """[B, L] of each token behind those before it, 0 for the first: logits at every place."""
    logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
    chosen = logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)
    return torch.nn.functional.pad(chosen, (1, 0))


class Padded:
    """The plain pass: whole sequences, a masked loss, AdamW."""

    def __init__(self, model: Any, batch: Batch) -> None:
        """Makes the optimiser."""
        self._model, self._batch = model.train(), batch
        parameters = model.parameters()
        self._optimiser = torch.optim.AdamW(
            parameters, lr=RATE, betas=(0.9, 0.95), weight_decay=0.0, fused=True
        )

    def loss(self) -> float:
        """The loss, its gradient in the parameters."""
        batch = self._batch
        ratio = ((logprobs(self._model, batch.ids) - batch.sampled) * batch.weight).exp()
        bounded = ratio.clamp(1.0 - CLIP[0], 1.0 + CLIP[1])
        gain = torch.minimum(ratio * batch.advantage, bounded * batch.advantage)
        loss = -(batch.weight * gain).sum() / batch.weight.sum()
        loss.backward()
        return float(loss.detach())

    def step(self) -> None:
        """One step."""
        self._optimiser.zero_grad(set_to_none=True)
        self.loss()
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), CLIP_NORM)
        self._optimiser.step()

    def gradient(self) -> list[torch.Tensor]:
        """Of each parameter."""
        return [p.grad for p in self._model.parameters()]


def trainer_of(policy: Policy, clip_norm: float) -> Trainer:
    """Our trainer with the settings of the other side."""
    optim = OptimConfig(
        name="adamw", lr=RATE, betas=(0.9, 0.95), schedule="constant", warmup_fraction=0.0
    )
    config = TrainerConfig(
        total_steps=1, clip_grad_norm=clip_norm, clip_low=CLIP[0], clip_high=CLIP[1]
    )
    return Trainer(policy, optim, config)


def compare(policy: Policy, batch: Batch, over: Denominators) -> dict[str, float]:
    """How far loss and gradient of the sides are apart.

    Raises:
        SystemExit: too far.
    """
    padded = Padded(copy.deepcopy(policy.model), batch)
    twin = Policy(copy.deepcopy(policy.model), policy.tokenizer)
    told, mine = gradient_of(trainer_of(twin, 0.0), batch.sequences(), over)
    loss = padded.loss()
    gaps = {
        "loss_diff": abs(told["pg_loss"] - loss),
        "grad_diff": apart(mine, padded.gradient()),
    }
    if max(gaps.values()) > SAME:
        raise SystemExit(f"grouped rows: the sides differ: {gaps}")
    return {name: float(f"{value:.3g}") for name, value in gaps.items()}


def rows(size: str, vocabulary: int, group: Group, pairs: int, matrix: int) -> list[dict[str, Any]]:
    """The rows of one vocabulary."""
    words = [f"w{n}" for n in range(vocabulary - 4)]
    policy = Policy(build_model(size, vocabulary), build_word_tokenizer(words))
    batch = make_batch(policy.model, group)
    over = Denominators(pg=float(batch.weight.sum()))
    gaps = compare(policy, batch, over)
    padded = Padded(copy.deepcopy(policy.model), batch)
    trainer, sequences = trainer_of(policy, CLIP_NORM), batch.sequences()
    product = Product(torch.float32, matrix)

    def step() -> None:
        trainer.step(sequences, denominators=over, step_index=0)

    calls = {"ours": step, "peer": padded.step, "limit": product}
    rounds(1, calls)  # warms up
    spent = rounds(pairs, calls)
    losses = int((batch.weight != 0).sum())
    flops = training_flops(policy.model, group.needed, losses, group.seen)
    found = []
    for quantity in UNITS:
        row = {
            "x": {
                "rows": "grouped",
                "model": size,
                "dtype": "float32",
                "vocabulary": vocabulary,
                "measure": quantity,
            },
            **cells(spent, quantity, group.tokens, (flops, product.flops)),
            "equal_work": {"tokens_ours": group.tokens, "tokens_peer": group.tokens, **gaps},
        }
        row["peer"] |= {
            "name": "transformers, padded",
            "version": metadata.version("transformers"),
        }
        found.append(row)
    return found
