"""Supervised steps of `training.py`: ours beside TRL's SFTTrainer."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np
import torch
from arithmetic import MATRIX, UNITS, Product, cells, seen_within, training_flops
from gradients import SAME
from sides import SHAPES, VOCABULARY, WORDIER, build_model, rounds
from trl_side import PLAIN, Stepper

from forethought.training.optim import OptimConfig
from forethought.training.policy import Policy
from forethought.training.tiny import build_word_tokenizer
from forethought.training.trainer import Denominators, Trainer, TrainerConfig
from forethought.types import TrainingSequence

RATE = 1e-4
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Plan:
    """What is trained on, and how often."""

    rows: int = 16  # of a step
    row_length: int = 256
    shortest: int = 32  # tokens of a sequence; the longest has seven eighths of a row
    updates: int = 6
    bf16: bool = False
    micro: int = 1  # rows of a micro-batch of the peer
    matrix: int = MATRIX


def build_policy(name: str) -> Policy:
    """A model of `SHAPES` or `WORDIER` with a vocabulary of words, or a model folder."""
    shape, size = WORDIER.get(name, (name, VOCABULARY))
    if shape not in SHAPES:
        return Policy.load(name)
    tokenizer = build_word_tokenizer([f"w{n}" for n in range(size - 4)])
    return Policy(build_model(shape, size), tokenizer)


def make_sequences(vocabulary: int, plan: Plan) -> list[list[int]]:
    """Ragged sequences of any ids, enough for all updates and a row for each too many."""
    draw = np.random.default_rng(0)
    longest = plan.row_length * 7 // 8
    wanted = plan.rows * plan.row_length * (plan.updates + 1)
    found: list[list[int]] = []
    while sum(map(len, found)) < wanted:
        length = draw.integers(plan.shortest, longest + 1)
        found.append([int(x) for x in draw.integers(4, vocabulary, length)])
    return found


def as_trained(ids: Sequence[int]) -> TrainingSequence:
    """All but the first token have a loss."""
    return TrainingSequence(ids=tuple(ids), ce_weight=(0.0, *(1.0 for _ in ids[1:])))


class Peer:
    """TRL's supervised step."""

    def __init__(self, policy: Policy, plan: Plan) -> None:
        """Packs the sequences and brings the trainer before its first step."""
        from datasets import Dataset
        from trl import SFTConfig, SFTTrainer

        self._folder = tempfile.TemporaryDirectory()
        config = SFTConfig(
            output_dir=self._folder.name,
            packing=True,
            packing_strategy="bfd",
            max_length=plan.row_length,
            per_device_train_batch_size=plan.micro,
            gradient_accumulation_steps=plan.rows // plan.micro,
            max_steps=plan.updates,
            train_sampling_strategy="sequential",
            learning_rate=RATE,
            lr_scheduler_type="constant",
            optim="adamw_torch_fused",
            adam_beta2=0.95,
            max_grad_norm=1.0,
            bf16=plan.bf16,
            **PLAIN,
        )
        losses, counts = list[torch.Tensor](), list[int]()

        class Told(SFTTrainer):  # type: ignore[misc]
            """Keeps the loss and the number of tokens of each micro-batch."""

            def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
                counts.append(inputs["input_ids"].numel())
                found = super().compute_loss(model, inputs, *args, **kwargs)
                losses.append(found.detach())
                return found

        ids = make_sequences(policy.model.config.vocab_size, plan)
        self._trainer = Told(
            model=policy.model,
            args=config,
            processing_class=policy.tokenizer,
            train_dataset=Dataset.from_dict({"input_ids": ids}),
        )
        self._losses, self._plan, self.counts = losses, plan, counts
        self._stepper = Stepper(self._trainer)

    def steps(self) -> list[list[TrainingSequence]]:
        """The sequences of each step, as TRL packed them."""
        plan, rows = self._plan, self._trainer.train_dataset
        found: list[list[TrainingSequence]] = []
        for update in range(plan.updates):
            sequences: list[TrainingSequence] = []
            for row in range(update * plan.rows, (update + 1) * plan.rows):
                start, ids = 0, rows[row]["input_ids"]
                for length in rows[row]["seq_lengths"]:
                    sequences.append(as_trained(ids[start : start + length]))
                    start += length
            found.append(sequences)
        return found

    def step(self) -> float:
        """One step; returns its loss."""
        self._losses.clear()
        self._stepper.step()
        return float(torch.stack(self._losses).sum())

    def close(self) -> None:
        """Ends the run."""
        self._stepper.close()
        self._folder.cleanup()


class Ours:
    """Our supervised step."""

    def __init__(self, policy: Policy, plan: Plan, steps: list[list[TrainingSequence]]) -> None:
        """Builds the trainer."""
        optim = OptimConfig(
            name="adamw", lr=RATE, betas=(0.9, 0.95), schedule="constant", warmup_fraction=0.0
        )
        config = TrainerConfig(total_steps=plan.updates, row_length=plan.row_length, bf16=plan.bf16)
        self._trainer, self._steps, self._done = Trainer(policy, optim, config), steps, 0

    def step(self) -> float:
        """One step; returns its loss."""
        sequences = self._steps[self._done]
        over = Denominators(ce=float(sum(len(s.ids) - 1 for s in sequences)))
        told = self._trainer.step(sequences, denominators=over, step_index=self._done)
        self._done += 1
        return told["loss"]


def rows(name: str, plan: Plan, pairs: int) -> list[dict[str, Any]]:
    """The rows of one model and number format."""
    policy = build_policy(name)
    twin = Policy(copy.deepcopy(policy.model), policy.tokenizer)
    peer = Peer(twin, plan)
    steps = peer.steps()
    ours = Ours(policy, plan, steps)
    dtype = "bfloat16" if plan.bf16 else "float32"
    product = Product(DTYPES[dtype], plan.matrix)
    try:
        gap = abs(ours.step() - peer.step())  # warms both up, too
        if gap > SAME and not plan.bf16:
            raise SystemExit(f"{name}: the losses of the first step are {gap:.3g} apart")
        product()
        peer.counts.clear()
        spent = rounds(pairs, {"ours": ours.step, "peer": peer.step, "limit": product})
    finally:
        peer.close()
    lengths = [[len(s.ids) for s in sequences] for sequences in steps[1 : pairs + 1]]
    tokens = sum(map(sum, lengths)) / pairs
    losses = tokens - sum(map(len, lengths)) / pairs
    flops = training_flops(policy.model, tokens, losses, sum(map(seen_within, lengths)) / pairs)
    found = []
    for quantity in UNITS:
        row = {
            "x": {"rows": "packed", "model": name, "dtype": dtype, "measure": quantity},
            **cells(spent, quantity, tokens, (flops, product.flops)),
            "equal_work": {
                "tokens_ours": round(tokens),
                "tokens_peer": round(sum(peer.counts) / pairs),
                "loss_diff": float(f"{gap:.3g}"),
            },
        }
        row["peer"] |= {"name": "trl.SFTTrainer", "version": metadata.version("trl")}
        found.append(row)
    return found
