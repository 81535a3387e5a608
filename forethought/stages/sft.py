"""Stage 2, FE-SFT: the block gets its tags, and its number is the student's own success rate.

Before training, the labels are measured again with the student that starts the stage (a label
belongs to the policy that produced it). The whole response trains; a share of episodes is written
without blocks and asked for by a flag in the prompt, so that the block can be left out later.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from forethought.errors import InputError
from forethought.hindsight.corpus import CorpusBuilder, Written, mean_label
from forethought.hindsight.records import Labelled
from forethought.hindsight.targets import balanced
from forethought.progress import say
from forethought.rollout.level_tokens import level_ids
from forethought.schema import RunConfig, SftConfig
from forethought.stages.context import Context
from forethought.stages.labels import relabel
from forethought.stages.supervised import Corpus, corpus_builder, train_supervised
from forethought.training.policy import Policy
from forethought.types import TrainingSequence


def corpus(context: Context, items: Sequence[Labelled], policy: Policy) -> list[Written]:
    """The sequences of stage 2 in the order of their items; see `written`."""
    section = context.config.sft
    chosen = [items[index] for index in kept(section, [item.labels[0].value for item in items])]
    builder, rng = make_builder(context, policy.tokenizer), draws(context.config)
    return [
        each
        for number in range(len(chosen))
        for each in written(builder, section, chosen, number, rng)
    ]


def make_builder(context: Context, tokenizer: Any) -> CorpusBuilder:
    """What writes the sequences of this stage.

    Raises:
        InputError: `sft.brier` with a tokenizer that cuts the numbers of the levels apart.
    """
    section, builder = context.config.sft, corpus_builder(context, tokenizer)
    if section.q_targets == "posterior":
        strength = context.config.prepare.prior_strength
        builder = replace(builder, posterior=(strength, context.config.seed))
    if not section.brier:
        return builder
    ids = level_ids(tokenizer)
    if ids is None:
        raise InputError(
            "sft.brier",
            got=f"{section.brier} with a tokenizer that cuts numbers apart",
            expected="21 levels of one token each, or 0",
            next_step="set sft.brier = 0: cross-entropy teaches the number",
        )
    return replace(builder, brier_ids=ids)


def kept(section: SftConfig, first_labels: Sequence[float]) -> Sequence[int]:
    """Indices of the items that the stage trains on, by their first labels."""
    return balanced(first_labels, section.low_share) if section.blocks else range(len(first_labels))


def draws(config: RunConfig) -> random.Random:
    """What chooses the episodes without blocks; the items take from it in their order."""
    return random.Random(f"sft/{config.seed}")


def written(
    builder: CorpusBuilder,
    section: SftConfig,
    items: Sequence[Labelled],
    number: int,
    rng: random.Random,
) -> list[Written]:
    """The sequences of an item: tagged or plain episode, then its executed alternatives.

    Without blocks it is the success: elsewhere failures do not teach which way to take either, and
    here nothing else is left.
    """
    item = items[number]
    if not section.blocks:
        return [builder.imitation(item.trajectory)] if item.trajectory.success else []
    if rng.random() < section.format_off_share:
        made = [builder.imitation(item.trajectory)]
    else:
        made = [builder.tagged(items, number, section.corpus)]
    # The placebos of content have no twins of the executed alternatives.
    if item.branches and section.corpus in ("true", "constant"):
        mean = mean_label(items) if section.corpus == "constant" else None
        for branch in item.branches:
            q = branch.s / max(branch.k, 1) if mean is None else mean
            made.append(builder.branch(item, branch, q))
    return made


def pass_over(section: SftConfig, num_calls: int, rng: random.Random) -> None:
    """Takes from `rng` what `written` takes for an item, however many tool calls it has."""
    if section.blocks:
        rng.random()


def dose(context: Context, items: Sequence[Labelled], policy: Policy) -> tuple[int, int]:
    """Block tokens that one pass over the corpus trains, and all passes together."""
    one_pass = sum(written.block_tokens for written in corpus(context, items, policy))
    return one_pass, round(one_pass * context.config.sft.epochs)


def as_samples(section: SftConfig, episodes: Sequence[Written]) -> list[TrainingSequence]:
    """The rows of `sft.samples`, and a line that says what a pass reads in either form.

    The loss of a pass is the same. The paper (2606.27483) trains on turns.
    """
    turns = [row for episode in episodes for row in episode.rows()]
    read = {"episodes": episodes, "turns": turns}
    tokens = {name: sum(len(row.sequence.ids) for row in rows) for name, rows in read.items()}
    say(
        f"sft: a pass reads {tokens['episodes']:,} tokens in {len(episodes):,} episodes, "
        f"{tokens['turns']:,} in {len(turns):,} single turns; sft.samples = {section.samples}"
    )
    return [row.sequence for row in read[section.samples]]


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
    sequences = as_samples(section, corpus(context, items, policy))
    data = Corpus(sequences=sequences, epochs=section.epochs, brier=section.brier)
    return train_supervised(context, "sft", policy, data, section)
