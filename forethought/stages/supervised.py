"""The loop of the stages that train with cross-entropy: base, midtrain, sft.

Data order and batches are a function of the seed and the step, so a run that is killed goes on from
its last checkpoint to the same weights.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forethought.algos.observations import with_observations
from forethought.hindsight.corpus import CorpusBuilder
from forethought.progress import progress, say
from forethought.runlog import MetricsLog
from forethought.schema import SupervisedConfig
from forethought.stages.context import Context
from forethought.training import checkpoint
from forethought.training.optim import OptimConfig
from forethought.training.policy import Policy
from forethought.training.trainer import Denominators, Trainer, TrainerConfig
from forethought.types import TrainingSequence


def optim_config(section: SupervisedConfig) -> OptimConfig:
    """The optimiser settings of a stage, as the trainer takes them."""
    return OptimConfig(**section.optim.model_dump())


def batch_order(
    num: int, batch: int, epochs: float, seed: int, *, shuffle: bool = True
) -> list[list[int]]:
    """Indices of each optimiser step: passes over `num` items, cut at `epochs`.

    Every epoch is its own permutation, or the given order without `shuffle`; the last batch of a
    pass may be short.
    """
    total = round(num * epochs)
    batches: list[list[int]] = []
    epoch = 0
    while total > 0:
        order = list(range(num))
        if shuffle:
            random.Random(f"{seed}/{epoch}").shuffle(order)
        order = order[:total]
        batches += [order[i : i + batch] for i in range(0, len(order), batch)]
        total -= len(order)
        epoch += 1
    return batches


def corpus_builder(context: Context, tokenizer: Any) -> CorpusBuilder:
    """What writes the sequences of a run for a tokenizer."""
    return CorpusBuilder(
        text_format=context.domain.text_format,
        tokenizer=tokenizer,
        writer=context.domain.writer,
        imitate_failures=context.domain.imitate_failures,
        failed_decisions=context.config.data.failed_decisions,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """What a stage trains on, and how often."""

    sequences: Sequence[TrainingSequence]
    epochs: float = 1.0  # passes, may be fractional
    shuffle: bool = True  # permute each pass; off keeps a curriculum in its order
    brier: float = 0.0  # weight of the exact Brier score at the Brier slots
    lambda_obs: float = 0.0  # weight of cross-entropy on observations


def train_supervised(
    context: Context,
    stage: str,
    policy: Policy,
    corpus: Corpus,
    section: SupervisedConfig,
    *,
    result: str = "model",
) -> Policy:
    """Trains `policy` on a corpus and saves it as STAGE/model.

    Args:
        context: the run.
        stage: folder of the stage.
        policy: changed in place.
        corpus: sequences in a fixed order, and the passes over them.
        section: optimiser, batch and checkpoint settings.
        result: another name for the saved model, where it is not yet the stage's.

    Returns:
        The same policy, trained.

    Raises:
        GuardRail: a batch without a trained token, a loss that is not finite, frozen weights.
    """
    folder = context.stage_dir(stage)
    seed = context.config.seed
    sequences = corpus.sequences
    batches = batch_order(
        len(sequences), section.batch_sequences, corpus.epochs, seed, shuffle=corpus.shuffle
    )
    policy.train_last(context.config.model.train_last_layers)
    config = _trainer_config(section, len(batches), corpus.brier)
    trainer = Trainer(policy, optim_config(section), config)
    log = MetricsLog(folder / "metrics.jsonl")
    guard = {"config": context.config_hash, "data": _data_hash(sequences)}
    done = _resume(context, folder, policy, trainer, guard)
    log.truncate_after(done)
    with progress(f"{context.eval_name(stage)}: training", len(batches), done) as bar:
        for number in range(done, len(batches)):
            batch = [sequences[index] for index in batches[number]]
            batch, over = with_observations(batch, corpus.lambda_obs)
            slots = sum(len(sequence.brier) for sequence in batch)
            denominators = Denominators(ce=over, brier=float(max(slots, 1)))
            stats = trainer.step(batch, denominators=denominators, step_index=number)
            log.append(number + 1, **stats)
            bar.advance(note=f"loss {stats['ce_loss']:.3f}")
            last = number + 1 == len(batches)
            if (number + 1) % section.checkpoint_every == 0 and not last:
                state = {"step": number + 1, "seed": seed, **guard}
                checkpoint.save(folder / "checkpoints", policy, trainer.optimiser, state)
    policy.save(folder / result)
    return policy


def _resume(
    context: Context, folder: Path, policy: Policy, trainer: Trainer, guard: dict[str, str]
) -> int:
    if not context.resume or checkpoint.latest(folder / "checkpoints") is None:
        return 0
    state = checkpoint.load(folder / "checkpoints", policy, trainer.optimiser, guard)
    say(f"{context.eval_name(folder.name)}: going on after step {state['step']}")
    return int(state["step"])


def _trainer_config(section: SupervisedConfig, total_steps: int, brier: float) -> TrainerConfig:
    return TrainerConfig(
        micro_batch_tokens=section.micro_batch_tokens,
        bf16=section.bf16,
        clip_grad_norm=section.clip_grad_norm,
        total_steps=total_steps,
        brier_coefficient=brier,
    )


def _data_hash(sequences: Sequence[TrainingSequence]) -> str:
    digest = hashlib.sha256()
    for sequence in sequences:
        digest.update(repr((sequence.ids, sequence.ce_weight)).encode())
        for further in (sequence.obs_weight, sequence.brier):
            digest.update(repr(further).encode() if further else b"")
    return digest.hexdigest()
