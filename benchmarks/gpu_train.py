"""Part `train` of a GPU record: optimiser steps beside padded rows of plain transformers."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from gpu_cells import Cell, Machine, Part, build, ceilings, hidden_weights, models
from gradients import plain_loss

from forethought.training.optim import OptimConfig
from forethought.training.policy import Policy
from forethought.training.tiny import build_word_tokenizer
from forethought.training.trainer import Denominators, Trainer, TrainerConfig
from forethought.types import TrainingSequence

TRAINED = 0.35  # share of the tokens that have a loss, about that of episodes with searches
OPTIM = OptimConfig(name="adamw", lr=1e-5, schedule="constant", warmup_fraction=0.0)


def ragged_batch(model: Any, *, num: int, most: int, common: int = 0) -> list[TrainingSequence]:
    """Random ids of a fifth of `most` to `most` tokens; runs of tokens have a cross-entropy.

    Every three sequences begin with the same `common` ids, which have none, as a prompt has none.
    """
    draw = np.random.default_rng(1)
    made = []
    prompts = draw.integers(4, model.config.vocab_size, (-(-num // 3), common))
    for number in range(num):
        length = int(draw.integers(max(4, most // 5), most + 1))
        ids = draw.integers(4, model.config.vocab_size, length)
        runs = np.repeat(draw.random(length // 4 + 1) < TRAINED, 4)[:length].astype(float)
        ids[:common] = prompts[number // 3]
        runs[: max(common, 1)], runs[-1] = 0.0, 1.0
        weights = tuple(map(float, runs))
        made.append(TrainingSequence(ids=tuple(map(int, ids)), ce_weight=weights))
    return made


def over(batch: Sequence[TrainingSequence]) -> Denominators:
    """Cross-entropy is a mean over its tokens."""
    return Denominators(ce=sum(sum(s.ce_weight) for s in batch))


def trainer_of(model: Any, **config: Any) -> Trainer:
    """A trainer of this very model."""
    policy = Policy(model, build_word_tokenizer(["a"]))
    bounds = {"micro_batch_tokens": 8192, "total_steps": 1000} | config
    return Trainer(policy, OPTIM, TrainerConfig(**bounds))


def run(part: Part) -> int:
    """Tokens a second of every kind of step, all models."""
    on = part.on
    part.do("ceilings", lambda: ceilings(on))
    peak = part.cells.get("ceilings", {}).get("matmul_tflop_s")
    # (tokens of a micro-batch, tokens of a shared row)
    shapes = [(64, 24), (128, 48)] if on.quick else [(8192, 256), (32768, 1024), (32768, 4096)]
    for name in models(on.quick):
        model = cache(partial(build, name, on))  # made by the first cell that is not there

        for micro, row in shapes:
            title = f"{name}/packed {micro} x {row}"
            part.do(title, lambda m=model, s=(micro, row): _packed(m(), on, s, peak))
        for micro in {micro: None for micro, _ in shapes}:
            title = f"{name}/padded {micro}"
            part.do(title, lambda m=model, n=micro: _padded(m(), on, n, peak))
    return part.end()


def _batch(model: Any, on: Machine) -> list[TrainingSequence]:
    return ragged_batch(model, num=8 if on.quick else 96, most=24 if on.quick else 900)


def _packed(model: Any, on: Machine, shape: tuple[int, int], peak: float | None) -> Cell:
    micro, row = shape
    trainer = trainer_of(copy.deepcopy(model), bf16=True, micro_batch_tokens=micro, row_length=row)
    batch, padding = _batch(model, on), [0.0]

    def step() -> None:
        stats = trainer.step(batch, denominators=over(batch), step_index=500)
        padding[0] = stats["padding_share"]

    return {**_timed(step, batch, on, model, peak), "padding_share": round(padding[0], 4)}


def _padded(model: Any, on: Machine, micro: int, peak: float | None) -> Cell:
    """Rows sorted by length, as many as fit `micro` tokens; AdamW of torch, all weights."""
    own = copy.deepcopy(model).train()
    optimiser = torch.optim.AdamW(own.parameters(), lr=1e-5, fused=on.on_gpu)
    batch = sorted(_batch(model, on), key=lambda s: -len(s.ids))
    total, forwarded = over(batch).ce, [0]

    def step() -> None:
        forwarded[0] = first = 0
        while first < len(batch):
            rows = batch[first : first + max(1, micro // len(batch[first].ids))]
            forwarded[0] += len(rows) * len(rows[0].ids)
            with torch.autocast(on.device.type, dtype=torch.bfloat16):
                loss = plain_loss(own, rows, total)
            loss.backward()  # type: ignore[no-untyped-call]
            first += len(rows)
        torch.nn.utils.clip_grad_norm_(own.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    found = _timed(step, batch, on, model, peak)
    return {**found, "padding_share": round(1 - found["tokens"] / forwarded[0], 4)}


def _timed(
    step: Any, batch: Sequence[TrainingSequence], on: Machine, model: Any, peak: float | None
) -> Cell:
    """Tokens a second, peak memory, and the share of a matrix product's speed."""
    if on.on_gpu:
        torch.cuda.reset_peak_memory_stats(on.device)
    taken = on.median(step, 1 if on.quick else 3)
    tokens = sum(len(s.ids) for s in batch)
    flop = needed_flop(model, batch)
    found = {
        "tokens": tokens,
        "trained_tokens": sum(sum(s.ce_weight) for s in batch),
        "tokens_per_s": round(tokens / taken, 1),
        "tflop_s": round(flop / taken / 1e12, 4),
    }
    if peak:
        found["matmul_share"] = round(flop / taken / 1e12 / peak, 4)
    if on.on_gpu:
        found["peak_gib"] = round(torch.cuda.max_memory_allocated(on.device) / 2**30, 2)
    return found


def needed_flop(model: Any, batch: Sequence[TrainingSequence]) -> float:
    """Operations of a step that waste nothing, the same for both sides.

    6 a weight and token: 2 forward, 4 backward. The head counts for tokens with a loss only, and
    attention for the pairs of a causal mask: 2 products x 2 x pairs x width forward, twice that
    backward.
    """
    config = model.config
    tokens = sum(len(s.ids) for s in batch)
    trained = sum(sum(weight != 0 for weight in s.ce_weight) for s in batch)
    pairs = sum(len(s.ids) * (len(s.ids) + 1) // 2 for s in batch)
    head = config.vocab_size * config.hidden_size
    attention = 12.0 * config.num_hidden_layers * config.hidden_size * pairs
    return 6.0 * (hidden_weights(model) * tokens + head * trained) + attention
