"""Stage 1, WM-AMT: the model learns to foretell in free text, before any format is taught.

Blocks stand before the action on a share of the turns, under varied headings; untouched
trajectories are mixed in. Block and action tokens train; of failed trajectories the block alone.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from forethought.evals.blocks import HeldOut, block_losses, held_out_blocks, loss_rows
from forethought.hindsight.corpus import FreeOptions, Written, branch_trajectory, mean_label
from forethought.hindsight.records import Labelled
from forethought.jsonl import write_jsonl
from forethought.stages.context import Context
from forethought.stages.supervised import Corpus, corpus_builder, train_supervised
from forethought.training.policy import Policy


def corpus(context: Context, items: Sequence[Labelled], policy: Policy) -> list[Written]:
    """The sequences of stage 1: one an episode, with free blocks or untouched.

    Of `observations` one an episode and one an executed alternative, for what they were replied.
    """
    section = context.config.midtrain
    builder = corpus_builder(context, policy)
    if section.corpus == "observations":
        return [
            builder.observed(trajectory)
            for item in items
            for trajectory in (
                item.trajectory,
                *(branch_trajectory(item, branch) for branch in item.branches),
            )
        ]
    options = FreeOptions(
        kind=section.corpus,
        block_share=section.block_share,
        observations=section.lambda_obs > 0,
    )
    rng = random.Random(f"midtrain/{context.config.seed}")
    sequences: list[Written | None] = []
    for index, item in enumerate(items):
        untouched = rng.random() < section.untouched_share or item.trajectory.num_calls == 0
        if untouched or section.corpus == "none":
            sequences.append(builder.plain(item))
        else:
            sequences.append(builder.free(items, index, rng, options))
    return [sequence for sequence in sequences if sequence is not None]


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
        corpus_builder(context, policy),
        trajectories,
        number=mean_label(items),
        seed=context.config.seed,
    )
