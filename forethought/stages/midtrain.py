"""Stage 1, WM-AMT: the model learns to foretell in free text, before any format is taught.

Blocks stand before the action on a share of the turns, under varied headings; untouched
trajectories are mixed in. Block and action tokens train; of failed trajectories the block alone.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from forethought.evals.blocks import HeldOut, block_losses, held_out_blocks, loss_rows
from forethought.hindsight.corpus import (
    CorpusBuilder,
    FreeOptions,
    Written,
    branch_trajectory,
    draw_looks,
    mean_label,
)
from forethought.hindsight.records import Labelled
from forethought.jsonl import write_jsonl
from forethought.schema import MidtrainConfig, RunConfig
from forethought.stages.context import Context
from forethought.stages.supervised import Corpus, corpus_builder, train_supervised
from forethought.training.policy import Policy


def corpus(context: Context, items: Sequence[Labelled], policy: Policy) -> list[Written]:
    """The sequences of stage 1 in the order of their items; see `written`."""
    section = context.config.midtrain
    builder = make_builder(context, policy.tokenizer)
    rng = draws(context.config)
    return [
        each
        for number in range(len(items))
        for each in written(builder, section, items, number, rng)
    ]


def make_builder(context: Context, tokenizer: Any) -> CorpusBuilder:
    """What writes the sequences of this stage."""
    return corpus_builder(context, tokenizer)


def kept(section: MidtrainConfig, first_labels: Sequence[float]) -> Sequence[int]:
    """Indices of the items that the stage trains on: all."""
    return range(len(first_labels))


def draws(config: RunConfig) -> random.Random:
    """What chooses turns and headings; the items take from it in their order."""
    return random.Random(f"midtrain/{config.seed}")


def written(
    builder: CorpusBuilder,
    section: MidtrainConfig,
    items: Sequence[Labelled],
    number: int,
    rng: random.Random,
) -> list[Written]:
    """The sequences of an item: one, with free blocks or untouched; none of an untouched failure.

    Of `observations` one of the episode and one of each executed alternative, for what they were
    replied.
    """
    item = items[number]
    if section.corpus == "observations":
        others = [branch_trajectory(item, branch) for branch in item.branches]
        return [builder.observed(trajectory) for trajectory in (item.trajectory, *others)]
    if not _takes_blocks(section, item.trajectory.num_calls, rng):
        plain = builder.plain(item)
        return [] if plain is None else [plain]
    options = FreeOptions(
        kind=section.corpus,
        block_share=section.block_share,
        observations=section.lambda_obs > 0,
    )
    return [builder.free(items, number, rng, options)]


def pass_over(section: MidtrainConfig, num_calls: int, rng: random.Random) -> None:
    """Takes from `rng` what `written` takes for an item of so many tool calls."""
    if section.corpus != "observations" and _takes_blocks(section, num_calls, rng):
        draw_looks(num_calls, section.block_share, rng)


def _takes_blocks(section: MidtrainConfig, num_calls: int, rng: random.Random) -> bool:
    untouched = rng.random() < section.untouched_share or num_calls == 0
    return not untouched and section.corpus != "none"


def run(context: Context, items: Sequence[Labelled], policy: Policy) -> Policy:
    """Trains the policy on the stage-0 trajectories; returns it, saved as midtrain/model.

    The loss on held-out blocks, before and after, goes to midtrain/blocks.jsonl.
    """
    sequences = [written.sequence for written in corpus(context, items, policy)]
    section = context.config.midtrain
    data = Corpus(sequences=sequences, epochs=section.epochs, lambda_obs=section.lambda_obs)
    held_out = _held_out(context, items, policy)
    before = block_losses(policy, held_out)
    policy = train_supervised(context, "midtrain", policy, data, section)
    rows = loss_rows(held_out, before, block_losses(policy, held_out))
    write_jsonl(context.paths.blocks, rows)
    return policy


def _held_out(context: Context, items: Sequence[Labelled], policy: Policy) -> HeldOut:
    """Blocks of trajectories of the evaluation's split, all with the mean label as number."""
    section = context.config.eval
    trajectories = context.domain.trajectories(
        section.num_blocks, policy.tokenizer, split=section.split
    )
    return held_out_blocks(
        corpus_builder(context, policy.tokenizer),
        trajectories,
        number=mean_label(items),
        seed=context.config.seed,
    )
