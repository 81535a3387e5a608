"""Stage 2, FE-SFT: the block gets its tags, and its number is the student's own success rate.

Before training, the labels are measured again with the student that starts the stage (a label
belongs to the policy that produced it). The whole response trains; a share of episodes is written
without blocks and asked for by a flag in the prompt, so that the block can be left out later.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from forethought.hindsight.corpus import Written, mean_label
from forethought.hindsight.records import Labelled
from forethought.hindsight.targets import balanced, with_drawn_labels
from forethought.stages.context import Context
from forethought.stages.labels import relabel
from forethought.stages.supervised import Corpus, corpus_builder, train_supervised
from forethought.training.policy import Policy


def corpus(context: Context, items: Sequence[Labelled], policy: Policy) -> list[Written]:
    """The sequences of stage 2: tagged episodes, plain episodes, executed alternatives.

    Without blocks they are the successes: elsewhere failures do not teach which way to take
    either, and here nothing else is left.
    """
    section = context.config.sft
    builder = corpus_builder(context, policy)
    if not section.blocks:
        won = [item.trajectory for item in items if item.trajectory.success]
        return [builder.imitation(trajectory) for trajectory in won]
    items = _targets(context, items)
    rng = random.Random(f"sft/{context.config.seed}")
    # The placebos of content have no twins of the executed alternatives.
    numbers = {"true": None, "constant": mean_label(items)}
    sequences: list[Written] = []
    for index, item in enumerate(items):
        if rng.random() < section.format_off_share:
            sequences.append(builder.imitation(item.trajectory))
        else:
            sequences.append(builder.tagged(items, index, section.corpus))
        for branch in item.branches if section.corpus in numbers else ():
            q = numbers[section.corpus]
            sequences.append(
                builder.branch(item, branch, branch.s / max(branch.k, 1) if q is None else q)
            )
    return sequences


def _targets(context: Context, items: Sequence[Labelled]) -> list[Labelled]:
    """The items whose numbers are taught, with the numbers that are."""
    section, seed = context.config.sft, context.config.seed
    kept = balanced(items, section.low_share)
    if section.q_targets == "nearest":
        return kept
    strength = context.config.prepare.prior_strength
    return [with_drawn_labels(item, strength, seed) for item in kept]


def dose(context: Context, items: Sequence[Labelled], policy: Policy) -> tuple[int, int]:
    """Block tokens that one pass over the corpus trains, and all passes together."""
    one_pass = sum(written.block_tokens for written in corpus(context, items, policy))
    return one_pass, round(one_pass * context.config.sft.epochs)


def run(
    context: Context, items: Sequence[Labelled], policy: Policy, *, fresh_labels: bool
) -> Policy:
    """Trains the policy on tagged episodes; returns it, saved as sft/model.

    Args:
        context: the run.
        items: labelled trajectories of this stage's dose.
        policy: the student, changed in place.
        fresh_labels: the labels were measured with this very student; else they are renewed first.
    """
    section = context.config.sft
    if section.blocks and section.relabel and not fresh_labels:
        items = relabel(context, items, policy, folder=context.stage_dir("sft"))
    sequences = [written.sequence for written in corpus(context, items, policy)]
    data = Corpus(sequences=sequences, epochs=section.epochs, brier=section.brier)
    return train_supervised(context, "sft", policy, data, section)
