"""Does stage 1 teach the future, or only the look of a block? The loss on blocks never trained on.

Each held-out trajectory gets one free-text block at one of its turns, once with its own future and
once with that of another task at the same turn, under the same headings and with the same number.
A model that learns headings and style gains equally on both; only one that learns to foretell gains
more on the true ones.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from forethought.hindsight.corpus import CorpusBuilder
from forethought.hindsight.records import Label, Labelled
from forethought.hindsight.trajectory import Trajectory
from forethought.stats.blocks import KINDS
from forethought.training.nll import mean_nll
from forethought.training.policy import Policy
from forethought.types import JsonRow, TrainingSequence


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """Blocks of both kinds at the same places."""

    task_ids: tuple[str, ...]
    steps: tuple[int, ...]
    sequences: dict[str, tuple[TrainingSequence, ...]]  # kind -> one a place; the block is weighted


def held_out_blocks(
    builder: CorpusBuilder, trajectories: Sequence[Trajectory], *, number: float, seed: int
) -> HeldOut:
    """One place in each trajectory that calls a tool, with its true and its shuffled block.

    Args:
        builder: format, tokenizer and writer.
        trajectories: never trained on.
        number: the estimate in every block, in [0, 1]; equal, so that it tells nothing.
        seed: of the places and headings.
    """
    label = Label(value=number, source="outcome", s=0, k=0, prior=number)
    items = [
        Labelled(trajectory=t, labels=(label,) * len(t.steps)) for t in trajectories if t.num_calls
    ]
    steps = [
        random.Random(f"places/{seed}/{index}").randrange(item.trajectory.num_calls)
        for index, item in enumerate(items)
    ]
    sequences = {
        kind: tuple(
            builder.single(items, index, step, kind, random.Random(f"headings/{seed}/{index}"))
            for index, step in enumerate(steps)
        )
        for kind in KINDS
    }
    return HeldOut(
        task_ids=tuple(item.trajectory.task.id for item in items),
        steps=tuple(steps),
        sequences=sequences,
    )


def block_losses(policy: Policy, held_out: HeldOut) -> dict[str, list[float]]:
    """Mean negative log-likelihood (nats a token) of each block, by kind."""
    return {kind: mean_nll(policy, held_out.sequences[kind]) for kind in KINDS}


def loss_rows(
    held_out: HeldOut, before: dict[str, list[float]], after: dict[str, list[float]]
) -> list[JsonRow]:
    """One row a block: nats a token of both kinds, before and after the stage."""
    rows: list[JsonRow] = []
    for number, task_id in enumerate(held_out.task_ids):
        row: JsonRow = {"task_id": task_id, "step": held_out.steps[number]}
        for kind in KINDS:
            row[kind] = {"before": before[kind][number], "after": after[kind][number]}
        rows.append(row)
    return rows
