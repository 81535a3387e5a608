"""Stage 2, FE-SFT: the block gets its tags, and its number is the student's own success rate.

Before training, the labels are measured again with the student that starts the stage (a label
belongs to the policy that produced it). The whole response trains; a share of episodes is written
without blocks and asked for by a flag in the prompt, so that the block can be left out later.
The last passes train one turn of each episode, behind blocks that the student wrote itself
(`forethought.hindsight.walk`).
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from forethought.hindsight.corpus import CorpusBuilder, Written
from forethought.hindsight.records import Labelled
from forethought.hindsight.walk import Walk, walks
from forethought.jsonl import read_jsonl, write_jsonl
from forethought.stages.context import Context
from forethought.stages.labels import make_student, relabel
from forethought.stages.supervised import Corpus, Second, train_supervised
from forethought.training.policy import Policy
from forethought.types import TrainingSequence

WALKS = "walks.jsonl"


def corpus(context: Context, items: Sequence[Labelled], policy: Policy) -> list[Written]:
    """The sequences of stage 2: tagged episodes, plain episodes, executed alternatives."""
    section = context.config.sft
    builder = _builder(context, policy)
    rng = random.Random(f"sft/{context.config.seed}")
    sequences: list[Written] = []
    for index, item in enumerate(items):
        if rng.random() < section.format_off_share:
            sequences.append(builder.imitation(item.trajectory))
        else:
            sequences.append(builder.tagged(items, index))
        for branch in item.branches:
            sequences.append(builder.branch(item, branch, branch.s / max(branch.k, 1)))
    return sequences


def later_corpus(
    context: Context, items: Sequence[Labelled], walked: Sequence[Walk], policy: Policy
) -> list[Written]:
    """The sequences of the last passes: one turn an episode, or an episode without blocks."""
    section = context.config.sft
    builder = _builder(context, policy)
    rng = random.Random(f"sft/later/{context.config.seed}")
    return [
        builder.imitation(item.trajectory)
        if rng.random() < section.format_off_share
        else builder.behind(item, walk)
        for item, walk in zip(items, walked, strict=True)
    ]


def dose(context: Context, items: Sequence[Labelled], policy: Policy) -> int:
    """Block tokens that the finished stage trained on, all passes together."""
    section = context.config.sft
    first = sum(written.block_tokens for written in corpus(context, items, policy))
    if not section.walk_epochs:
        return round(first * section.epochs)
    walked = _read_walks(context)
    later = sum(w.block_tokens for w in later_corpus(context, items, walked, policy))
    return round(first * section.epochs + later * section.walk_epochs)


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
    if section.relabel and not fresh_labels:
        items = relabel(context, items, policy, folder=context.stage_dir("sft"))

    def later(student: Policy) -> list[TrainingSequence]:
        walked = _walk(context, items, student)
        return [w.sequence for w in later_corpus(context, items, walked, student)]

    data = Corpus(
        sequences=[written.sequence for written in corpus(context, items, policy)],
        epochs=section.epochs,
        then=Second(make=later, num=len(items), epochs=section.walk_epochs)
        if section.walk_epochs
        else None,
    )
    return train_supervised(context, "sft", policy, data, section)


def _walk(context: Context, items: Sequence[Labelled], policy: Policy) -> list[Walk]:
    """The student's walks, made now or read back when the stage resumes behind them."""
    file = context.stage_dir("sft") / WALKS
    if context.resume and file.is_file():
        return _read_walks(context)
    found = walks(
        [item.trajectory for item in items],
        context.config.sft.walk_copies,
        make_student(context, policy, mode="foresight"),
        random.Random(f"sft/walks/{context.config.seed}"),
    )
    write_jsonl(file, ({"texts": list(walk.texts)} for walk in found))
    return found


def _read_walks(context: Context) -> list[Walk]:
    rows = read_jsonl(context.stage_dir("sft") / WALKS)
    return [Walk(tuple(row["texts"])) for _, row in rows]


def _builder(context: Context, policy: Policy) -> CorpusBuilder:
    return CorpusBuilder(
        text_format=context.domain.text_format,
        tokenizer=policy.tokenizer,
        writer=context.domain.writer,
        imitate_failures=context.domain.imitate_failures,
    )
